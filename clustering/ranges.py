"""The range of a number, written once beside its field: messages, the command line and HTTP read it from there.

top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
"""

from __future__ import annotations

import math
from dataclasses import fields
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Interval

from clustering.errors import BadInput, arg

Positive = Annotated[float, Interval(gt=0)]
Share = Annotated[float, Interval(gt=0, le=1)]
Count = Annotated[int, Interval(ge=1)]


def ranges_of(cls: type) -> dict[str, tuple[type, Interval]]:
    """{field: its type and its range} of a dataclass; fields without a range are left out."""
    hints = get_type_hints(cls, include_extras=True)
    found = {field.name: range_of(hints[field.name]) for field in fields(cls)}
    return {name: pair for name, pair in found.items() if pair is not None}


def range_of(hint: Any) -> tuple[type, Interval] | None:
    """The type and the range of `Annotated[float, Interval(…)]`, or of that or None; None if it has no range."""
    options = [part for part in get_args(hint) if part is not NoneType] if get_origin(hint) is not Annotated else [hint]
    for part in options:
        if get_origin(part) is Annotated:
            kind, *marks = get_args(part)
            return next(((kind, mark) for mark in marks if isinstance(mark, Interval)), None)
    return None


def check_ranges(settings: Any) -> None:
    """Refuse a dataclass one of whose numbers is outside its range; None is left to the field's type.

    Raises:
        BadInput: The message names the field, the value and the range.
    """
    for name, (kind, interval) in ranges_of(type(settings)).items():
        value = getattr(settings, name)
        if value is not None:
            check_range(name, value, kind, interval)


def check_range(name: str, value: Any, kind: type, interval: Interval, hint: str = "") -> None:
    """Refuse a number outside a range, or what is no number of the kind.

    Args:
        name: The argument that it is for.
        value: What was given.
        kind: `int` takes whole numbers, `float` all that are finite.
        interval: The range.
        hint: What else would do.

    Raises:
        BadInput: The message names the argument, the value and the range.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (is_number and (kind is float or int(value) == value) and _holds(interval, value)):
        what = "a whole number, " if kind is int else ""
        raise BadInput(f"{arg(name, value)} must be {what}{in_words(interval)}{hint}.")


def _holds(interval: Interval, value: float) -> bool:
    low = interval.ge is None or value >= interval.ge  # type: ignore[operator]
    above = interval.gt is None or value > interval.gt  # type: ignore[operator]
    high = interval.le is None or value <= interval.le  # type: ignore[operator]
    below = interval.lt is None or value < interval.lt  # type: ignore[operator]
    return low and above and high and below


def in_words(interval: Interval) -> str:
    """`more than 0 and at most 1`."""
    low = f"at least {interval.ge}" if interval.ge is not None else f"more than {interval.gt}"
    high = f"at most {interval.le}" if interval.le is not None else f"less than {interval.lt}"
    parts = [low] if interval.ge is not None or interval.gt is not None else []
    return " and ".join([*parts, *([high] if interval.le is not None or interval.lt is not None else [])])
