"""A small task in made-up languages, with dictionary, translator and pairs, for the tests of transfers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.xelm.conftest import write_jsonl

TOPICS = {
    "sport": ["ball", "team", "match", "player", "goal", "race"],
    "food": ["bread", "soup", "cheese", "fruit", "salt", "dinner"],
    "sky": ["cloud", "storm", "rain", "wind", "snow", "sun"],
}
FILL = ["the", "was", "near", "old", "very", "with", "seen", "again"]
LANGUAGES = ("deu", "eng", "nld", "spa")
NEAR = {"nld": "deu"}
"""Dutch here is German with other endings, so that letters carry over."""
TAGS = {"sport": "NOUN", "food": "VERB", "sky": "ADJ"}


def word_in(word: str, code: str) -> str:
    """A word of one of the languages: letters shifted by the language, and Dutch near German."""
    if code == "eng":
        return word
    shift = {"deu": 7, "nld": 7, "spa": 15}[code]
    moved = "".join(chr((ord(letter) - 97 + shift) % 26 + 97) for letter in word)
    return f"{moved}{'en' if code == 'nld' else ''}"


def sentence(number: int, topic: str) -> list[str]:
    """The English words of a sentence; the same number is the same sentence in every language."""
    rng = random.Random(number)
    words = [*rng.choices(TOPICS[topic], k=3), *rng.choices(FILL, k=4)]
    rng.shuffle(words)
    return words


def topic_of(number: int) -> str:
    """The class of a sentence."""
    return list(TOPICS)[number % len(TOPICS)]


def split_of(number: int) -> str:
    """A third of the sentences is for tests."""
    return "test" if number % 10 in (1, 4, 7) else "train"


def write_task(folder: Path, *, number: int = 90, languages: tuple[str, ...] = LANGUAGES, **more: Any) -> Path:
    """`<code>.jsonl` of every language: sentences with topics, and words with tags."""
    for code in languages:
        rows = []
        for n in range(number):
            words = [word_in(word, code) for word in sentence(n, topic_of(n))]
            tags = [_tag(word) for word in sentence(n, topic_of(n))]
            row = {"id": n, "text": " ".join(words), "category": topic_of(n), "split": split_of(n), **more}
            rows.append({**row, "tokens": words, "tags": tags})
        write_jsonl(folder / f"{code}.jsonl", rows)
    return folder


def write_dictionary(folder: Path, code: str = "spa") -> Path:
    """`eng-<code>.csv` with every topic word."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [word for own in TOPICS.values() for word in own]
    lines = [f"{word},{word_in(word, code)}\n" for word in words]
    (folder / f"eng-{code}.csv").write_text("english,other\n" + "".join(lines), encoding="utf-8")
    return folder


def translate_word_by_word(lines: list[str], source: str, target: str) -> list[str]:
    """A translator as a function: every word of these languages is known."""
    known = {word_in(word, source): word for own in TOPICS.values() for word in [*own, *FILL]}
    return [" ".join(word_in(known.get(word, word), target) for word in line.split()) for line in lines]


def recipe_of(folder: Path, /, **sections: Any) -> dict[str, Any]:
    """A recipe with n-grams on that task, with sections replaced."""
    table: dict[str, Any] = {
        "base": {"features": "ngrams"},
        "task": {"kind": "classification", "path": str(folder)},
        "evaluate": {"replicates": 200},
    }
    for name, value in sections.items():
        table[name] = {**table.get(name, {}), **value} if isinstance(value, dict) else value
    return table


def _tag(word: str) -> str:
    return next((TAGS[topic] for topic, own in TOPICS.items() if word in own), "PART")
