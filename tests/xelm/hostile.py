"""Runs made by somebody else: every file of a run damaged or falsified, one thing at a time."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2,
    10**30,
    0.5,
    -1e308,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "deu",
    "base",
    "c2-rus",
    "../victim",
    "../../victim",
    "../../../victim/dear.txt",
    "{victim}",
    "experts/../../victim",
    "a\u0000b",
    "\ud800",
    ".",
    "y" * 5000,
    [],
    {},
    [[[[]]]],
    ["../victim"],
    {"../victim": "../victim"},
    {"a": None},
)
"""What a field may hold instead of what it should; `{victim}` stands for an absolute path beside the run."""
SHAPES = ("garbage", "empty", "half", "brackets", "digits", "link", "link to a folder", "folder", "gone", "pipe")
"""What may stand where a file should."""


@dataclass(frozen=True)
class Change:
    """One thing that is wrong with a run."""

    file: str
    place: int
    """Which node of its JSON, or which of its arrays."""
    value: Any
    how: str
    """`set`, `drop`, `add`, `rename`, or one of `SHAPES`."""
    rehash: bool
    """Whether the manifest has the checksum of what stands there now."""


def grow_today(first: Path, run: Path, text: Path) -> None:
    """Make a run as today's xelm leaves it: with Swedish, blended, its base's weights in several files."""
    from transformers import AutoModelForCausalLM

    from xelm import add_language, blend
    from xelm.run.records.manifest import Manifest

    shutil.copytree(first, run)
    add_language(run, "swe", text, donor="base", tokens=128)
    model = AutoModelForCausalLM.from_pretrained(run / "base")
    (run / "base" / "model.safetensors").unlink()
    model.save_pretrained(run / "base", max_shard_size="5KB")
    manifest = Manifest.read(run)
    manifest.refresh_files(run)
    manifest.write(run)
    blend(run, keep=0.5)


def train_adapters(folder: Path) -> None:
    """Make `lora`: a run of adapters, trained on the corpus of the stored runs, with Swedish."""
    from xelm import add_language, train

    overrides = ("expert.kind='lora'", "expert.rank=2", "train.tokens=768", "base.new.tokens=256")
    train(folder / "recipe.toml", folder / "lora", overrides=overrides)
    add_language(folder / "lora", "swe", folder / "new" / "swe.jsonl", donor="base", tokens=128)


def files_of(run: Path) -> list[str]:
    """Every file of a run but the lock."""
    return sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file() and p.name != ".lock")


def plant(run: Path) -> None:
    """Files that readers must ignore and writers must not believe."""
    victim = "../victim/dear.txt"
    for name, value in {
        "work/launch.json": {"recipe": {}, "redo": True, "report": True, "processes": 1, "fsdp": False},
        "work/jobs.json": {"base": "1", "../victim": "2"},
        "work/base.failed.json": {"reason": "x", "bad_input": False},
        "next/leaving.json": [victim, "plan.json"],
        "next/xelm.json": {"files": {victim: "0"}},
        "logs/base.jsonl": {"step": 1, "num_steps": 2, "tokens": 3, "loss": 1.0},
    }.items():
        file = run / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value) + "\n", encoding="utf-8")


def make(run: Path, target: Path, change: Change, victim: Path) -> None:
    """A copy of the run with the change; unchanged files are links to the run's own."""
    shutil.copytree(run, target, copy_function=os.link)
    file = target / change.file
    content = file.read_bytes()
    file.unlink()
    if change.how in SHAPES:
        _shape(file, content, change.how, victim)
    else:
        file.write_bytes(_changed(file, content, change, victim))
    if change.rehash and file.is_file() and not file.is_symlink() and change.file != "xelm.json":
        manifest = json.loads((target / "xelm.json").read_bytes())
        if change.file in manifest["files"]:
            manifest["files"][change.file] = hashlib.sha256(file.read_bytes()).hexdigest()
            (target / "xelm.json").unlink()
            (target / "xelm.json").write_text(json.dumps(manifest), encoding="utf-8")


def hashes(folder: Path) -> dict[str, str]:
    """Everything under a folder: links by their target, files by content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "other"
    return found


def _shape(file: Path, content: bytes, how: str, victim: Path) -> None:
    if how == "link":
        file.symlink_to(victim / "dear.txt")
    elif how == "link to a folder":
        file.symlink_to(victim)
    elif how == "folder":
        file.mkdir()
    elif how == "pipe":
        os.mkfifo(file)
    elif how != "gone":
        file.write_bytes(
            {
                "garbage": os.urandom(64),
                "empty": b"",
                "half": content[: len(content) // 2],
                "brackets": b"[" * 200_000,
                "digits": b"[" + b"9" * 6_000 + b"]",
            }[how]
        )


def _changed(file: Path, content: bytes, change: Change, victim: Path) -> bytes:
    if file.suffix == ".safetensors":
        return _changed_arrays(content, change)
    if file.suffix == ".jsonl":
        lines = content.split(b"\n")
        index = change.place % max(1, len(lines) - 1)
        lines[index] = _changed_json(lines[index], change, victim)
        return b"\n".join(lines)
    if file.suffix == ".json":
        return _changed_json(content, change, victim)
    return content + b"<!-- -->"


def _changed_json(content: bytes, change: Change, victim: Path) -> bytes:
    tree = json.loads(content)
    holder = {"": tree}
    places = list(_places(holder))
    parent, key = places[change.place % len(places)]
    value = change.value.format(victim=victim) if change.value == "{victim}" else copy.deepcopy(change.value)
    if change.how == "drop" and parent is not holder:
        del parent[key]
    elif change.how == "rename" and isinstance(parent, dict) and parent is not holder:
        parent[str(value)] = parent.pop(key)
    elif change.how == "add" and isinstance(parent[key], dict):
        parent[key][str(value)] = value
    else:
        parent[key] = value
    return json.dumps(holder[""]).encode() + b"\n"


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _changed_arrays(content: bytes, change: Change) -> bytes:
    from safetensors.numpy import load, save

    arrays = {name: np.array(array) for name, array in load(content).items()}
    name = sorted(arrays)[change.place % len(arrays)]
    ways: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a.astype(np.float32) * np.float32("nan"),
        lambda a: a[::-1].copy(),
        lambda a: a[: len(a) // 2].copy(),
        lambda a: a.reshape(-1)[:0],
        lambda a: a.astype(np.float64) - 1e300,
        lambda a: a.reshape(1, *a.shape),
        lambda a: a.astype(np.int64) - 5,
        lambda a: a.astype(np.bool_),
    ]
    if change.how == "drop":
        del arrays[name]
    elif change.how == "rename":
        arrays["x.keys"] = arrays.pop(name)
    else:
        arrays[name] = ways[change.place % len(ways)](arrays[name])
    return save(arrays)
