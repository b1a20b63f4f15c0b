"""`help(xelm.X)` says everything: each argument and each field has its words, and none points elsewhere for them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import xelm
from clustering import Effects
from tests.xelm.stored_runs import unpack
from xelm.comparing.comparison import ArmResult
from xelm.comparing.statistics import Estimate
from xelm.recipe.docstrings import argument_docs

POINTS_ELSEWHERE = re.compile(r"\bAs (for|in) `|\bThe same\.|\bTheirs\.|\bas there\b")
PLAIN = {"self", "cls"}


def _callables(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The function of a public name, or the public methods of a class that this project wrote."""
    found = getattr(xelm, name)
    if not inspect.isclass(found):
        yield name, found
        return
    for part in found.__mro__:  # a class may be made of parts
        for member, value in vars(part).items() if part.__module__.startswith(("clustering", "router", "xelm")) else ():
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if not member.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{member}", function


@pytest.mark.parametrize("name", sorted(xelm.__all__))
def test_a_public_name_explains_itself(name: str) -> None:
    found = getattr(xelm, name)
    text = inspect.getdoc(found) or ""
    assert text and not text.startswith(f"{name}("), "a docstring that dataclass made"
    if dataclasses.is_dataclass(found):
        fields = [field.name for field in dataclasses.fields(found)]
        missing = [field for field in fields if not re.search(rf"^    {field}: \S", text, flags=re.M)]
        assert missing == []
    for where, function in _callables(name):
        words = inspect.getdoc(function) or ""
        assert words, where
        assert POINTS_ELSEWHERE.search(words) is None, where
        explained, taken = argument_docs(function), set(inspect.signature(function).parameters) - PLAIN
        assert set(explained) <= taken, f"{where} explains an argument that it does not take"
        if explained:
            assert taken - set(explained) == set(), f"{where} explains some arguments only"


def test_rank_sources_takes_tokenizers_by_name_and_says_so() -> None:
    text = inspect.getdoc(xelm.rank_sources) or ""
    assert "tokenizer on the hub" in text and "use `xelm.rank_sources`" not in text
    assert {"target", "corpora", "ranker", "quality"} <= set(argument_docs(xelm.rank_sources))


def test_what_people_print_is_one_line(tmp_path: Path) -> None:
    plan = xelm.cluster_languages(["deu", "nld", "rus"], k=2)
    effects = Effects.of(["deu", "nld"], [[0.0, 0.01], [0.03, 0.0]])
    report = xelm.rank_sources("ukr", ["rus", "pol"])
    run = xelm.ExpertSet.load(unpack(tmp_path) / "first")
    assert repr(plan) == "ClusterPlan(ward, {c1-deu-nld: deu nld, c2-rus: rus})"
    assert repr(plan.distances) == "Distances(combined, 3 languages: deu nld rus)"
    assert repr(effects) == "Effects(2 languages: deu nld, mean +2.00 %)"
    assert repr(report).startswith("SourceReport(Ukrainian (ukr), of 2: <Ranking of 2: rus +")
    assert repr(run) == f"ExpertSet('{run.path}', base, dense, {{c1-deu-nld: deu nld, c2-rus: rus}})"
    arm = ArmResult("ward", [], [9], [], 2, [2], Estimate(1.25, None, None), [1.25], {"deu": 1.25}, "deu")
    compared = xelm.PlanComparison(["deu", "nld"], [0], "full", 9, [arm], [])
    assert repr(compared) == "PlanComparison(2 languages, 1 seeds: ward +1.2 %)"
