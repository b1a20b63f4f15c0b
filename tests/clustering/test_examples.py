"""The examples in docstrings run and give what they show."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import clustering

MODULES = [f"clustering.{module.name}" for module in pkgutil.iter_modules(clustering.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0


def test_every_public_name_exists() -> None:
    for name in clustering.__all__:
        assert getattr(clustering, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        clustering.nothing  # noqa: B018
