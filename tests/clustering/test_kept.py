"""The cache of worked-out arrays: read where it is whole, made anew where it is not, never in the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustering.cache import Arrays, cache_folder, kept_arrays
from clustering.distances import uriel as typology


class Work:
    """Counts how often the arrays are worked out."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Arrays:
        self.times += 1
        return {"numbers": np.arange(5, dtype=np.int16)}


def whole(arrays: Arrays) -> bool:
    return len(arrays["numbers"]) == 5


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XELM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_arrays_are_worked_out_once(cache: Path) -> None:
    work = Work()
    first, second = (kept_arrays("numbers-1", work, whole) for _ in range(2))
    assert work.times == 1
    assert second["numbers"].dtype == first["numbers"].dtype and np.array_equal(
        *(a["numbers"] for a in (first, second))
    )
    kept_arrays("numbers-2", work, whole)
    assert work.times == 2


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_harmed_file_is_made_anew(cache: Path, content: bytes | None) -> None:
    work = Work()
    kept_arrays("numbers", work, whole)
    file = cache / "numbers.npz"
    file.write_bytes(file.read_bytes()[:-30] if content is None else content)
    for _ in range(2):
        assert whole(kept_arrays("numbers", work, whole))
    assert work.times == 2


def test_arrays_that_do_not_fit_are_made_anew(cache: Path) -> None:
    work = Work()
    kept_arrays("numbers", lambda: {"numbers": np.arange(3)}, whole)
    assert whole(kept_arrays("numbers", work, whole)) and work.times == 1


def test_without_a_place_they_are_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XELM_CACHE", str(tmp_path / "file"))
    work = Work()
    assert whole(kept_arrays("numbers", work, whole)) and whole(kept_arrays("numbers", work, whole))
    assert work.times == 2


def test_the_folder_follows_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.delenv("XELM_CACHE", raising=False)
    assert cache_folder() == Path("/c/xelm")
    monkeypatch.setenv("XELM_CACHE", "/x")
    assert cache_folder() == Path("/x")


def test_families_from_the_cache_are_those_of_the_file(cache: Path) -> None:
    tables = []
    for _ in range(2):
        typology.families.cache_clear()
        tables.append(typology.families())
    assert [file.name.split("-")[0] for file in cache.iterdir()] == ["families"]
    assert tables[0].names == tables[1].names
    for name in ("rows", "columns", "counts"):
        assert np.array_equal(getattr(tables[0], name), getattr(tables[1], name))
