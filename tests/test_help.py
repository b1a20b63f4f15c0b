"""`help(xelm.X)` says everything: each argument and each field has its words, and none points elsewhere for them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import xelm
from xelm.recipe.docstrings import argument_docs

POINTS_ELSEWHERE = re.compile(r"\bAs (for|in) `|\bThe same\.|\bTheirs\.|\bas there\b")
PLAIN = {"self", "cls"}


def _callables(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The function of a public name, or the public methods of a class that this project wrote."""
    found = getattr(xelm, name)
    if not inspect.isclass(found):
        yield name, found
        return
    for member, value in vars(found).items():
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
