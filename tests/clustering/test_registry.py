"""Concepts found by name: our own modules and installed packages, near names, two of one name, one that is broken."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from clustering.errors import BadInput
from clustering.registry import Registry

_MODULE = """
from {package}_registry import SIZES

@SIZES.named("{name}")
def {name}() -> int:
    return {value}
"""


@pytest.fixture
def sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """A registry of a package of two modules, and of a distribution that adds a third and a broken one."""
    monkeypatch.syspath_prepend(str(tmp_path))
    room = f"room{abs(hash(tmp_path))}"
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").touch()
    (tmp_path / f"{room}_registry.py").write_text(
        f"from clustering.registry import Registry\nSIZES = Registry('size', package='{room}', group='{room}.sizes')\n"
    )
    for name, value in (("small", 1), ("large", 9)):
        (tmp_path / room / f"{name}.py").write_text(_MODULE.format(package=room, name=name, value=value))
    (tmp_path / f"{room}_theirs.py").write_text(_MODULE.format(package=room, name="huge", value=99))
    (tmp_path / f"{room}_broken.py").write_text("import there_is_no_such_module\n")
    info = tmp_path / f"{room}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {room}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{room}.sizes]\nhuge = {room}_theirs\nbad = {room}_broken\n")
    return __import__(f"{room}_registry").SIZES  # type: ignore[no-any-return]


def test_ours_and_those_of_installed_packages_are_found(
    sizes: Registry[object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert sizes.names() == ["huge", "large", "small"]
    assert "size 'bad' of an installed package cannot be used: No module named" in caplog.text
    assert [sizes.find(name)() for name in sizes.names()] == [99, 9, 1]  # type: ignore[operator]


def test_an_unknown_name_is_refused_with_the_near_one(sizes: Registry[object]) -> None:
    with pytest.raises(BadInput, match=r"\[paper\] size = 'smal': choose huge or large or small \(small\?\)"):
        sizes.find("smal", "[paper] size")
    with pytest.raises(BadInput, match=r"size = 'xyz': choose huge or large or small\."):
        sizes.find("xyz")


def test_two_things_of_one_name_are_refused(sizes: Registry[object]) -> None:
    sizes.names()
    with pytest.raises(BadInput, match="two sizes are called 'small'"):
        sizes.register("small", object())
