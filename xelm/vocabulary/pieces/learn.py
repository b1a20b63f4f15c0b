"""Learn pieces of a language's own from its text, by the tokenizer's own algorithm.

BPE goes on where the tokenizer stopped: its tokens are the letters in which further merges are learned, and these are
appended, so that all of its own merges come first. Unigram and WordPiece learn a vocabulary of the new text, of which
the pieces that the tokenizer lacks are appended.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clustering.errors import BadInput
from xelm.vocabulary.tokenizer_table import algorithm, fresh_backend, joiner, pieces_of

_FIRST_LETTER = 0x10000
"""Code points from here on stand for tokens while merges are learned; none of them is white space."""
_ALPHABET_COVERAGE = 0.9999
"""Share of the text's characters that the learned alphabet covers; rarer ones stay unknown, or bytes."""
_MIN_FREQUENCY = 2
_SPARE = 1.5
_LONGEST_PIECE = 24
"""Letters of a piece (bytes, for byte-level tokenizers)."""


@dataclass(frozen=True)
class Learned:
    """Pieces in the order in which they are added; the first N of them are a vocabulary of N too."""

    pieces: list[str] = field(default_factory=list)
    merges: list[tuple[str, str]] = field(default_factory=list)
    """For BPE, the merge that makes each piece from the alphabet's end on; an alphabet's letters need none."""
    scores: list[float] = field(default_factory=list)
    """For Unigram, the log-probability of each piece."""

    def __len__(self) -> int:
        return len(self.pieces)


def learn_pieces(table: Mapping[str, Any], words: Counter[str], most: int) -> Learned:
    """Learn up to `most` pieces that a tokenizer lacks.

    Args:
        table: The tokenizer (`xelm.vocabulary.tokenizer_table`).
        words: Words of the new language's training text with their counts (`xelm.vocabulary.pieces.words`).
        most: Number of pieces, at least 1. A short text may give fewer.

    Raises:
        BadInput: If the tokenizer knows only whole words.
    """
    kind = algorithm(table)
    if kind == "BPE":
        return _bpe(table, words, most)
    if kind == "Unigram":
        return _unigram(table, words, most)
    if kind == "WordPiece":
        return _wordpiece(table, words, most)
    raise BadInput(f"a tokenizer of whole words ({kind}) cannot learn pieces: the language needs no vocabulary option.")


def extended(table: Mapping[str, Any], learned: Learned, number: int) -> dict[str, Any]:
    """The tokenizer with the first `number` learned pieces, whose ids follow its own."""
    result = copy.deepcopy(dict(table))
    model, first = result["model"], max(pieces_of(table)) + 1
    pieces = learned.pieces[:number]
    if algorithm(table) == "Unigram":
        _put_unigram(result, learned, pieces, first)
        return result
    if pieces:  # added tokens behind the vocabulary become part of it, or they would move behind the new pieces
        listed = set(model["vocab"].values())
        beyond = [token for token in table["added_tokens"] if token["id"] not in listed]
        model["vocab"] |= {token["content"]: token["id"] for token in beyond}
    model["vocab"] |= {piece: first + place for place, piece in enumerate(pieces)}
    letters, joined = len(learned.pieces) - len(learned.merges), joiner(table)
    added = learned.merges[: max(0, number - letters)] if algorithm(table) == "BPE" else []
    assert all(joined(*pair) in model["vocab"] for pair in added)
    if added:
        model["merges"] = [*model["merges"], *map(list, added)]
    return result


def _put_unigram(table: dict[str, Any], learned: Learned, pieces: Sequence[str], first: int) -> None:
    """Append Unigram pieces; added tokens beyond the vocabulary become part of it, as its list has no gaps."""
    model = table["model"]
    there = pieces_of(table)
    lowest = min(score for _, score in model["vocab"])
    for index in range(len(model["vocab"]), first):
        model["vocab"].append([there.get(index, f"<unused {index}>"), 0.0 if index in there else lowest])
    # Unknown characters cost a fixed amount more than the least likely piece, which must stay the same piece.
    model["vocab"] += [[p, max(lowest, s)] for p, s in zip(pieces, learned.scores, strict=False)]


def _bpe(table: Mapping[str, Any], words: Counter[str], most: int) -> Learned:
    letters = _missing_letters(table, words)[:most]
    grown = extended(table, Learned(letters), len(letters))
    model, pieces = fresh_backend(grown).model, pieces_of(grown)
    spelled: dict[str, int] = {}
    for word, count in words.items():
        key = "".join(chr(_FIRST_LETTER + token.id) for token in model.tokenize(word))
        spelled[key] = spelled.get(key, 0) + count
    unknown = _unknown_ids(grown)
    known = {key: n for key, n in spelled.items() if not unknown & {ord(letter) - _FIRST_LETTER for letter in key}}
    learned, merges = list(letters), list[tuple[str, str]]()
    there, joined = set(pieces.values()), joiner(table)
    for first, second in _merges(known, _SPARE * (most - len(letters))):
        left, right = (_joined([pieces[ord(x) - _FIRST_LETTER] for x in part], joined) for part in (first, second))
        piece = joined(left, right)
        if len(piece) > _LONGEST_PIECE or left not in there or right not in there or piece in there:
            continue
        if len(learned) >= most:
            break
        there.add(piece)
        learned.append(piece)
        merges.append((left, right))
    return Learned(learned, merges)


def _joined(parts: Sequence[str], joined: Any) -> str:
    whole = parts[0]
    for part in parts[1:]:
        whole = joined(whole, part)
    return whole


def _merges(spelled: Mapping[str, int], most: float) -> Iterator[tuple[str, str]]:
    """Merges learned over words whose letters stand for tokens, in their order."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if most < 1 or not spelled:
        return
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = {letter for word in spelled for letter in word}
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + int(most), min_frequency=_MIN_FREQUENCY, show_progress=False
    )
    inner.train_from_iterator((" ".join([word] * count) for word, count in sorted(spelled.items())), trainer)
    for pair in json.loads(inner.to_str())["model"]["merges"]:
        yield pair[0], pair[1]


def _missing_letters(table: Mapping[str, Any], words: Counter[str]) -> list[str]:
    """Characters of the text that are no pieces yet, the most common first; none for byte-level tokenizers."""
    known = set(pieces_of(table).values())
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    missing, left = [], _ALPHABET_COVERAGE * sum(counts.values())
    for letter, count in counts.most_common():
        if left <= 0:
            break
        left -= count
        if letter not in known:
            missing.append(letter)
    return missing


def _unknown_ids(table: Mapping[str, Any]) -> set[int]:
    model = table["model"]
    unknown = model["vocab"].get(model.get("unk_token"))
    found = set() if unknown is None else {unknown}
    if model.get("byte_fallback"):  # pieces of bytes are read one by one, so no merge may join them
        found |= {index for piece, index in model["vocab"].items() if piece.startswith("<0x")}
    return found


def _unigram(table: Mapping[str, Any], words: Counter[str], most: int) -> Learned:
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    known = set(pieces_of(table).values())
    letters = _missing_letters(table, words)
    size = most + len(letters) + sum(len(piece) == 1 for piece in known)
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.UnigramTrainer(
        vocab_size=int(_SPARE * size),
        unk_token="<unk>",
        special_tokens=["<unk>"],
        max_piece_length=16,
        show_progress=False,
    )
    inner.train_from_iterator((" ".join([word] * count) for word, count in sorted(words.items())), trainer)
    rows = json.loads(inner.to_str())["model"]["vocab"][1:]
    wanted = sorted((row for row in rows if row[0] not in known), key=lambda row: (-row[1], row[0]))
    needed = set(letters)
    wanted.sort(key=lambda row: row[0] not in needed)
    return Learned([row[0] for row in wanted[:most]], scores=[row[1] for row in wanted[:most]])


def _wordpiece(table: Mapping[str, Any], words: Counter[str], most: int) -> Learned:
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    model, known = table["model"], set(pieces_of(table).values())
    prefix = model["continuing_subword_prefix"]
    inner = Tokenizer(models.WordPiece(unk_token=model["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = {letter for word in words for letter in word}
    trainer = trainers.WordPieceTrainer(
        vocab_size=int(_SPARE * most) + 2 * len(letters),
        continuing_subword_prefix=prefix,
        show_progress=False,
    )
    inner.train_from_iterator((" ".join([word] * count) for word, count in sorted(words.items())), trainer)
    vocab = json.loads(inner.to_str())["model"]["vocab"]
    wanted = [piece for piece in sorted(vocab, key=vocab.get) if piece not in known]
    wanted.sort(key=lambda piece: len(piece.removeprefix(prefix)) > 1)
    return Learned(wanted[:most])
