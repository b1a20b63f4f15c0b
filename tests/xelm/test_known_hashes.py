"""A second start reads no text, and no change of a text is missed by it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clustering.files import sha256_of
from tests.xelm.conftest import make_corpus
from xelm.corpus import known_hashes
from xelm.corpus.known_hashes import KnownHashes
from xelm.making.workspace import Workspace
from xelm.recipe.recipe import Recipe

_OPENED: list[str] = []
_AT_WORK = [False]


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _AT_WORK[0] and event == "open":
        _OPENED.append(str(arguments[0]))


sys.addaudithook(_note)


@contextmanager
def _opened() -> Iterator[list[str]]:
    """Every file that is opened in between."""
    _OPENED.clear()
    _AT_WORK[0] = True
    try:
        yield _OPENED
    finally:
        _AT_WORK[0] = False


def test_a_second_start_opens_no_text(tmp_path: Path, tiny_recipe: Callable[..., Recipe]) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    recipe = tiny_recipe(data={"path": str(corpus)})
    time.sleep(1.1)  # a file that was just written is not trusted
    with _opened() as first:
        before = Workspace.prepare(recipe, tmp_path / "run")
    assert any(str(corpus) in name for name in first)
    with _opened() as second:
        after = Workspace.prepare(recipe, tmp_path / "run")
    assert [name for name in second if str(corpus) in name] == []
    assert after.inputs.fingerprints == before.inputs.fingerprints
    kept = (tmp_path / "run" / "cache" / "text-hashes.json").read_text(encoding="utf-8")
    assert str(corpus) not in kept, "a run names no folder of this machine"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(known_hashes, "_SETTLED_NS", -1)


def test_other_bytes_of_the_same_size_and_time_are_noticed(tmp_path: Path, settled: None) -> None:
    text, kept = tmp_path / "deu.txt", tmp_path / "hashes.json"
    text.write_text("eins", encoding="utf-8")
    first = KnownHashes(kept)
    assert first(text) == sha256_of(text)
    first.save()
    times = text.stat()
    time.sleep(0.03)
    text.write_text("zwei", encoding="utf-8")
    os.utime(text, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert KnownHashes(kept)(text) == sha256_of(text)


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    text, kept = tmp_path / "deu.txt", tmp_path / "hashes.json"
    text.write_text("eins", encoding="utf-8")
    hashes = KnownHashes(kept)
    hashes(text)
    hashes.save()
    assert not kept.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', "null"])
def test_a_damaged_memory_is_as_good_as_none(tmp_path: Path, content: str, settled: None) -> None:
    text, kept = tmp_path / "deu.txt", tmp_path / "hashes.json"
    text.write_text("eins", encoding="utf-8")
    kept.write_text(content, encoding="utf-8")
    hashes = KnownHashes(kept)
    assert hashes(text) == sha256_of(text)
    hashes.save()
    assert KnownHashes(kept)(text) == sha256_of(text)
