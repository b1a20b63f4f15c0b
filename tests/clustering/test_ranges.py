"""A number's range stands once beside its field, and is checked and told from there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from annotated_types import Interval

from clustering.errors import BadInput
from clustering.ranges import Count, Share, check_ranges, in_words, range_of, ranges_of


@dataclass
class Bread:
    share: Share = 1.0
    loaves: Count | None = None
    name: str = "rye"
    heat: Annotated[float, Interval(ge=-2, lt=2)] = 0.0


def test_fields_with_a_range_are_found() -> None:
    assert ranges_of(Bread) == {
        "share": (float, Interval(gt=0, le=1)),
        "loaves": (int, Interval(ge=1)),
        "heat": (float, Interval(ge=-2, lt=2)),
    }
    assert range_of(int) is None and range_of(int | None) is None and range_of(Annotated[int, "a mark"]) is None


@pytest.mark.parametrize(
    "settings", [{}, {"share": 1}, {"share": 1e-9}, {"loaves": 1}, {"loaves": 2.0}, {"heat": -2}, {"heat": 1.999}]
)
def test_ends_of_a_range_belong_to_it_or_not(settings: dict[str, Any]) -> None:
    check_ranges(Bread(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.0}, r"share=0.0 must be more than 0 and at most 1\."),
        ({"share": 1.5}, r"share=1.5 must be"),
        ({"share": math.nan}, r"share=nan must be"),
        ({"share": True}, r"share=True must be"),
        ({"share": "half"}, r"share='half' must be"),
        ({"loaves": 0}, r"loaves=0 must be a whole number, at least 1\."),
        ({"loaves": 1.5}, r"loaves=1.5 must be a whole number"),
        ({"loaves": math.inf}, r"loaves=inf must be"),
        ({"heat": 2}, r"heat=2 must be at least -2 and less than 2\."),
    ],
    ids=str,
)
def test_what_is_outside_is_refused_with_its_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_ranges(Bread(**settings))


def test_ranges_in_words() -> None:
    assert [in_words(each) for each in (Interval(ge=1), Interval(lt=3), Interval(gt=0, le=1))] == [
        "at least 1",
        "less than 3",
        "more than 0 and at most 1",
    ]
