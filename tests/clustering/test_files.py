"""Files appear whole, and damage is told in a sentence with the file."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

import clustering.files
from clustering.errors import BadInput
from clustering.files import atomic_write, put_back_replaced, read_arrays, read_bytes, read_json, write_json


def _write_folder(target: Path, content: str, number: int = 50) -> None:
    with atomic_write(target) as partial:
        partial.mkdir()
        for index in range(number):
            (partial / f"{index}.txt").write_text(content)


def test_a_folder_that_is_written_again_is_seen_old_or_new_and_never_in_part(tmp_path: Path) -> None:
    target, ended, looks = tmp_path / "model", threading.Event(), list[tuple[int, int]]()
    _write_folder(target, "0")

    def look() -> None:
        while not ended.is_set():
            folder = os.open(target, os.O_RDONLY)  # one folder, whatever it is called a moment later
            names = os.listdir(folder)  # noqa: PTH208
            there = target.stat().st_ino == os.fstat(folder).st_ino
            os.close(folder)
            if there:
                looks.append((len(names), 50))

    reader = threading.Thread(target=look)
    reader.start()
    for round_ in range(8):
        _write_folder(target, str(round_))
    ended.set()
    reader.join()
    assert len(looks) > 20
    assert all(seen == whole for seen, whole in looks)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("before", ["folder", "file", "link", "nothing"])
def test_a_folder_takes_the_place_of_whatever_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(clustering.files, "exchange", lambda one, other: False)
    target, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "dear").touch()
    if before == "folder":
        _write_folder(target, "old", 3)
    elif before == "file":
        target.write_text("old")
    elif before == "link":
        target.symlink_to(elsewhere)
    _write_folder(target, "new", 2)
    assert {p.name: p.read_text() for p in target.iterdir()} == {"0.txt": "new", "1.txt": "new"}
    assert (elsewhere / "dear").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "model"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    _write_folder(tmp_path / "model", "old", 2)
    with pytest.raises(KeyError), atomic_write(tmp_path / "model") as partial:
        partial.mkdir()
        raise KeyError
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["0.txt", "1.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_a_killed_process_had_moved_aside_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_folder(tmp_path / "model", "old", 2)
    monkeypatch.setattr(clustering.files, "exchange", lambda one, other: False)
    monkeypatch.setattr(clustering.files, "remove", lambda path: None)  # killed: nothing is cleared away
    real = Path.replace

    def die(self: Path, target: Path) -> None:
        if target.name == "model":
            raise KeyboardInterrupt
        real(self, target)

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        _write_folder(tmp_path / "model", "new", 2)
    assert not (tmp_path / "model").exists()
    monkeypatch.undo()
    put_back_replaced(tmp_path)
    assert (tmp_path / "model" / "0.txt").read_text() == "old"
    put_back_replaced(tmp_path)
    assert (tmp_path / "model" / "0.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"9" * 6_000, "whole number of thousands of digits"),
        (b'{"loss": ' + b"-" + b"9" * 6_000 + b"}", "whole number of thousands of digits"),
        (b'{"loss": NaN}', "NaN, which is no number"),
        (b'{"loss": -Infinity}', "-Infinity, which is no number"),
        (b'{"loss": 1e999}', "1e999, which is no number"),
        (b"\xff\xfe{}", "not valid UTF-8 at byte 0"),
        (b"", "line 1: not valid JSON"),
        (rb'{"a": ["x\ud800"]}', "half a character"),
        (b'{\n"a": }', "line 2: not valid JSON"),
    ],
)
def test_damaged_json_is_one_sentence_with_the_file(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(BadInput, match=why) as caught:
        read_json(tmp_path / "plan.json")
    assert str(caught.value).startswith(str(tmp_path / "plan.json"))
    assert "\n" not in str(caught.value)


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, -1e300, None, True, "ö", "\\ud800"], "b": {"c": 10**40}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    (tmp_path / "x.json").write_text('["\\ud83d\\ude00"]')
    assert read_json(tmp_path / "x.json") == ["😀"]


def test_a_pipe_a_folder_and_a_file_too_large_are_no_file_to_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"0" * 100)
    with pytest.raises(BadInput, match="no regular file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(BadInput, match="is a directory"):
        read_json(tmp_path)
    with pytest.raises(BadInput, match="100 bytes; at most 99"):
        read_bytes(tmp_path / "large", most_bytes=99)


def _tensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        _tensors(b"{}", length=2**63),
        _tensors(b"[" * 50_000),
        _tensors(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}', b"\0" * 8),
        _tensors(b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
        _tensors(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"\0" * 4),
        _tensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', b"\0" * 4),
        _tensors(b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', b"\0" * 4),
    ],
)
def test_damaged_arrays_are_one_sentence_with_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    try:
        arrays = read_arrays(tmp_path / "x.safetensors")
    except BadInput as error:
        assert str(error).startswith(f"{tmp_path / 'x.safetensors'}: damaged")
        assert "\n" not in str(error)
    else:  # a type that numpy has by way of ml_dtypes
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
