"""Token ids word by word: a word that comes again is not tokenised again.

A tokenizer cuts a text into pieces before it looks for tokens, and no token spans two pieces. In the families known
here a piece always begins at a space that stands between two other characters than spaces. So a text may be cut there,
and the tokens of its parts, one after another, are the tokens of the text. Parts recur, as words do.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np

_MOST_CHARACTERS = 1 << 24
"""Characters of the parts that are remembered, each with `_ENTRY` more; beyond, all are forgotten."""
_ENTRY = 64
_LONGEST_MEAN = 24
"""Where parts are longer in the mean, as in scripts without spaces, they hardly recur."""
_CUT = "\0"

# How byte-level tokenizers find pieces (GPT-2, Llama 3, Qwen 2): a space by itself can only begin one.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    rf"{_WORDS}\p{{N}}{{1,3}}{_REST}",
    rf"{_WORDS}\p{{N}}{_REST}",
)
# What replaces runs of spaces by one, before pieces are found.
_RUNS = ({"String": "  "}, *({"Regex": run} for run in (r" {2,}", r"\s+", r"[\s\u200b\u200e\u200f]+")))


def word_ids(backend: Any, dtype: Any) -> WordIds | None:
    """The reader of texts for a tokenizer of `tokenizers`.

    Args:
        backend: The tokenizer.
        dtype: Of the ids.

    Returns:
        The reader, or None if the tokenizer's pieces are not known to begin at single spaces.
    """
    parts = json.loads(backend.to_str())
    added = [token for token in parts["added_tokens"] if not token["special"]]
    reaching = any(t["lstrip"] or t["rstrip"] or t["single_word"] or " " in t["content"] for t in added)
    limited = parts["truncation"] is not None or parts["padding"] is not None
    if reaching or limited or not (_keeps_spaces(parts["normalizer"]) and _begins_at_spaces(parts)):
        return None
    return WordIds(backend, dtype)


class WordIds:
    """Token ids of texts, as the bytes of an array.

    Args:
        backend: A tokenizer of which `word_ids` knows that its texts may be cut.
        dtype: Of the ids.
    """

    def __init__(self, backend: Any, dtype: Any):
        self._backend, self._dtype = backend, dtype
        self._known: dict[str, bytes | None] = {}
        """Part of a text, with the space before it -> its ids; None if the text must not be cut on either side."""
        self._joined: dict[str, bytes] = {}
        """Several parts that stay together -> their ids."""
        self._characters = 0

    def __call__(self, texts: list[str]) -> list[bytes] | None:
        """The ids of each text, without special tokens; None where parts are too long to recur."""
        rows = [[text] if _CUT in text else text.replace(" ", f"{_CUT} ").split(_CUT) for text in texts]
        if sum(map(len, texts)) > _LONGEST_MEAN * sum(map(len, rows)):
            return None
        if self._characters > _MOST_CHARACTERS:
            self._known, self._joined, self._characters = {}, {}, 0
        known, joined = self._known, self._joined
        self._learn(set(itertools.chain.from_iterable(rows)) - known.keys())
        found: list[bytes] = []
        whole: dict[int, list[str]] = {}
        for number, row in enumerate(rows):
            try:
                found.append(b"".join(map(known.__getitem__, row)))  # type: ignore[arg-type]
            except TypeError:  # a part that must not be cut
                whole[number] = _together(row, known)
                found.append(b"")
        new = list(set(itertools.chain.from_iterable(whole.values())) - joined.keys())
        joined.update(zip(new, self._ids(new), strict=True))
        for number, row in whole.items():
            found[number] = b"".join(map(joined.__getitem__, row))
        return found

    def _learn(self, parts: set[str]) -> None:
        stable = [part for part in parts if self._is_stable(part)]
        self._known.update(dict.fromkeys(parts))
        self._known.update(zip(stable, self._ids(stable), strict=True))

    def _is_stable(self, part: str) -> bool:
        """Whether a part has no space at its ends but the one that it begins with, before and after normalisation."""
        word = part.removeprefix(" ")
        if _CUT in word or not _has_firm_ends(word):
            return False
        if self._backend.normalizer is None:
            return True
        form = self._backend.normalizer.normalize_str(word)
        return _has_firm_ends(form) and self._backend.normalizer.normalize_str(f". {word} .") == f". {form} ."

    def _ids(self, parts: list[str]) -> list[bytes]:
        self._characters += sum(map(len, parts)) + _ENTRY * len(parts)
        encodings = self._backend.encode_batch_fast(parts, add_special_tokens=False) if parts else []
        return [np.asarray(encoding.ids, dtype=self._dtype).tobytes() for encoding in encodings]


def _has_firm_ends(word: str) -> bool:
    return bool(word) and not word[0].isspace() and not word[-1].isspace()


def _together(row: list[str], known: dict[str, bytes | None]) -> list[str]:
    """The parts of a text, of which those that must not be cut are joined to their neighbours."""
    found = [row[0]]
    for before, part in itertools.pairwise(row):
        if known[before] is None or known[part] is None:
            found[-1] += part
        else:
            found.append(part)
    return found


def _keeps_spaces(normaliser: dict[str, Any] | None) -> bool:
    """Whether a normaliser changes each part of a text by itself, and takes no single space away."""
    if normaliser is None:
        return True
    if normaliser["type"] == "Sequence":
        return all(map(_keeps_spaces, normaliser["normalizers"]))
    if normaliser["type"] == "Replace":
        return normaliser["pattern"] in _RUNS and normaliser["content"] in (" ", "▁")
    return normaliser["type"] in ("NFC", "NFKC")


def _begins_at_spaces(parts: dict[str, Any]) -> bool:
    """Whether a piece begins at every single space between two other characters."""
    model, before = parts["model"], parts["pre_tokenizer"]
    if before is None or model.get("dropout"):
        return False
    steps = before["pretokenizers"] if before["type"] == "Sequence" else [before]
    if model["type"] == "Unigram":
        return [step["type"] for step in steps] == ["Metaspace"] and bool(steps[0].get("split"))
    if model["type"] != "BPE" or steps[-1]["type"] != "ByteLevel":
        return False
    finds = bool(steps[-1]["use_regex"])
    for step in steps[:-1]:
        known_split = step["type"] == "Split" and not step["invert"] and step["behavior"] == "Isolated"
        if known_split and step["pattern"] in ({"Regex": pattern} for pattern in _PATTERNS):
            finds = True
        elif step["type"] != "Digits":
            return False
    return finds
