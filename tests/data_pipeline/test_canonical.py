import hashlib

import pytest

from data_pipeline.canonical import canonical_json, sha256_of_json


def test_one_text_for_one_value():
    text = canonical_json({"b": [1, 2.5, None], "a": "ü"})
    assert text == '{"a":"ü","b":[1,2.5,null]}'.encode()
    assert canonical_json({"a": "ü", "b": (1, 2.5, None)}) == text
    assert sha256_of_json({"b": [1, 2.5, None], "a": "ü"}) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_text_for(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": value})
