"""JSON from anywhere: whatever the text is, the answer is data or a ValueError.

The standard library's reader raises RecursionError for deep nesting and makes integers of
thousands of digits, which nothing after it can turn into a float.
"""

from __future__ import annotations

import json
from typing import Any

_LONGEST_INTEGER = 19
"""Digits of the largest 64-bit integer; longer ones become floats (perhaps infinite)."""


def loads(text: str | bytes) -> Any:
    """The document in ``text`` (bytes: UTF-8, -16 or -32). Raises ValueError for anything else.

    ``NaN`` and ``Infinity``, which some writers put out, are let through as floats.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
