"""How requests over HTTP name the arguments of the library."""

from __future__ import annotations

import json

from clustering.errors import NO_VALUE, in_python

_FIELDS = {"policy": "model", "max_new_tokens": "max_tokens", "stop_strings": "stop"}


def in_request(name: str, value: object) -> str:
    """`"model": "top1"`, and `"model"` for the name alone; arguments that no request has are named as in Python."""
    if name not in _FIELDS:
        return in_python(name, value)
    field = json.dumps(_FIELDS[name])
    return field if value is NO_VALUE else f"{field}: {json.dumps(value, ensure_ascii=False)}"
