import hashlib
import json
import math

import pytest

from data_pipeline.cli.canonical import canonical_json, sha256_of_json
from data_pipeline.cli.command import print_json


def test_equal_values_have_the_same_canonical_json():
    text = canonical_json({"b": [1, 2.5, None], "a": "ü"})
    assert text == '{"a":"ü","b":[1,2.5,null]}'.encode()
    assert canonical_json({"a": "ü", "b": (1, 2.5, None)}) == text
    assert sha256_of_json({"b": [1, 2.5, None], "a": "ü"}) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": value})


def test_printed_json_has_null_for_nan_and_infinity(capsys):
    measured = {"psnr": math.inf, "each": [(math.nan, 1.5), -math.inf], "clips": 3, "new": True}
    print_json(measured)
    (line,) = capsys.readouterr().out.splitlines()
    assert "NaN" not in line
    assert json.loads(line) == {"psnr": None, "each": [[None, 1.5], None], "clips": 3, "new": True}
