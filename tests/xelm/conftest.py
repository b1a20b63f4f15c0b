"""A tiny corpus of three languages and a recipe that trains in seconds, made on the spot."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from xelm.recipe.recipe import Recipe

# The same examples each time, and no limit on an example: the first one of a process imports torch.
settings.register_profile("xelm", deadline=None, derandomize=True)
settings.load_profile("xelm")

WORDS = {
    "deu": "der die das und ist nicht haus wasser morgen abend straße schön groß kind brot sonne",
    "nld": "de het een en is niet huis water morgen avond straat mooi groot kind brood zon",
    "rus": "и не это дом вода утро вечер улица красивый большой ребёнок хлеб солнце день ночь",
}


def sentences(code: str, number: int, seed: int = 0) -> list[str]:
    """Distinct made-up sentences of a language."""
    rng, words = random.Random(f"{code}{seed}"), WORDS[code].split()
    return [f"{' '.join(rng.choices(words, k=8)).capitalize()} {i}." for i in range(number)]


def write_jsonl(file: Path, rows: list[Any]) -> Path:
    """One object a line; strings become `{"text": ...}`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    objects = [{"text": row} if isinstance(row, str) else row for row in rows]
    file.write_text("".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects), encoding="utf-8")
    return file


def make_corpus(folder: Path, number: int = 60) -> Path:
    """`<code>.jsonl` of every language."""
    for code in WORDS:
        write_jsonl(folder / f"{code}.jsonl", list(sentences(code, number)))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that no test changes."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


TINY: dict[str, Any] = {
    "base": {
        "new": {
            "tokenizer": "byte",
            "hidden_size": 16,
            "num_layers": 1,
            "num_heads": 2,
            "context_length": 32,
            "tokens": 1280,
            "learning_rate": 5e-3,
        }
    },
    "data": {"path": "corpus"},
    "clusters": {"k": 2},
    "train": {"tokens": 1536, "batch_size": 4, "learning_rate": 2e-3, "checkpoint_every_steps": 2},
}


def tiny_table(**sections: dict[str, Any]) -> dict[str, Any]:
    """The tiny recipe as a table, with keys of its sections replaced or added."""
    table = {name: dict(section) for name, section in TINY.items()}
    for name, keys in sections.items():
        table[name] = {**table.get(name, {}), **keys}
    return table


@pytest.fixture
def tiny_recipe(corpus: Path) -> Callable[..., Recipe]:
    """Make the tiny recipe on the shared corpus, with changes: `tiny_recipe(train={"seed": 1})`."""

    def make(**sections: dict[str, Any]) -> Recipe:
        data = {"path": str(corpus), **sections.pop("data", {})}
        return Recipe.from_dict(tiny_table(data=data, **sections))

    return make
