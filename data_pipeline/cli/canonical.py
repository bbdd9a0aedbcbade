"""Canonical JSON: equal values have equal texts, and so equal hashes."""

import hashlib
import json
import math
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Encode `value` as JSON with sorted keys and no spaces, in UTF-8.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON has no text for.
        TypeError: the value holds something that is not JSON.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def without_nan(value: Any) -> Any:
    """Replace each NaN and infinity by None, because JSON has no text for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return value


def sha256_of_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
