"""langid's arrays come back from the cache as they are, and a harmed or unwritable cache does no harm."""

from __future__ import annotations

import numpy as np
import pytest

from router.identify import langid_arrays as langid_model


@pytest.fixture(scope="module")
def original():
    return langid_model.read_langid()


@pytest.fixture
def read_count(monkeypatch, original):
    counts = []
    monkeypatch.setattr(langid_model, "read_langid", lambda: counts.append(1) or original)
    return counts


def load():
    langid_model.load_langid.cache_clear()
    return langid_model.load_langid()


@pytest.fixture(autouse=True)
def forget():
    yield
    langid_model.load_langid.cache_clear()


def test_copy_equals_what_langid_holds(tmp_path, monkeypatch, read_count, original):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load()
    again = load()
    assert len(read_count) == 1
    assert again.classes == original.classes
    for name in ("next_state", "state_scores", "log_prior"):
        assert np.array_equal(getattr(again, name), getattr(original, name))
        assert getattr(again, name).dtype == getattr(original, name).dtype


@pytest.mark.parametrize("harm", [b"", b"no archive", None])
def test_a_harmed_copy_is_made_anew(tmp_path, monkeypatch, read_count, harm):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load()
    [copy] = (tmp_path / "xelm").iterdir()
    copy.write_bytes(copy.read_bytes()[:-100_000] if harm is None else harm)
    load(), load()
    assert len(read_count) == 2


def test_without_a_place_for_the_copy_langid_is_read(tmp_path, monkeypatch, read_count):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load().classes and load().classes
    assert len(read_count) == 2
