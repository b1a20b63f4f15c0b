"""The pieces that a pruned tokenizer cannot do without."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from xelm.objectives.gaps.sentinels import SENTINEL
from xelm.vocabulary.tokenizer_table import algorithm, joiner, pieces_of

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def always_kept(table: Mapping[str, Any]) -> set[int]:
    """Ids of added and special tokens, of every single character and byte, of sentinels, and of the unknown piece."""
    model = table["model"]
    kept = {token["id"] for token in table["added_tokens"]}
    kept |= {
        index for index, piece in pieces_of(table).items() if _is_single(piece, model) or SENTINEL.fullmatch(piece)
    }
    if algorithm(table) == "Unigram":
        if model.get("unk_id") is not None:
            kept.add(model["unk_id"])
        # An unknown character costs a fixed amount more than the least likely piece, so this piece stays too.
        scores = [score for _, score in model["vocab"]]
        kept.add(scores.index(min(scores)))
    elif model.get("unk_token") is not None:
        kept.add(model["vocab"][model["unk_token"]])
    return kept


def _is_single(piece: str, model: Mapping[str, Any]) -> bool:
    """Whether a piece is one character (or a byte), also in the form that it has inside or at the end of a word."""
    if _BYTE_PIECE.fullmatch(piece):
        return True
    bare = piece.removeprefix(model.get("continuing_subword_prefix") or "")
    return len(bare.removesuffix(model.get("end_of_word_suffix") or "") or bare) == 1


def with_parts(table: Mapping[str, Any], wanted: Iterable[int]) -> set[int]:
    """The wanted pieces and all pieces that merges go through on the way to them.

    A merge is never undone, so the merges inside a piece are the same in every word. With the pieces on its way, a
    wanted piece is therefore found in every text in which the whole tokenizer finds it.
    """
    kept = set(wanted)
    if algorithm(table) != "BPE":
        return kept
    pieces, vocab = pieces_of(table), table["model"]["vocab"]
    ways = Merges(table)
    for index in list(kept):
        kept |= {vocab[part] for part in ways.parts(pieces[index]) if part in vocab}
    return kept


class Merges:
    """The merges of a BPE tokenizer."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        model = table["model"]
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
        self._joined = joiner(table)
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._suffix = model.get("end_of_word_suffix") or ""

    def parts(self, piece: str) -> set[str]:
        """Every piece that arises while the characters of `piece` are merged, its characters included."""
        symbols = self._characters(piece)
        found = set(symbols)
        while len(symbols) > 1:
            ranked = [
                (rank, place)
                for place in range(len(symbols) - 1)
                if (rank := self._ranks.get((symbols[place], symbols[place + 1]))) is not None
            ]
            if not ranked:
                break
            place = min(ranked)[1]
            symbols[place : place + 2] = [self._joined(symbols[place], symbols[place + 1])]
            found.add(symbols[place])
        return found

    def _characters(self, piece: str) -> list[str]:
        bare = piece.removesuffix(self._suffix) if self._suffix else piece
        begins = not (self._prefix and bare.startswith(self._prefix))
        symbols = list(bare if begins else bare.removeprefix(self._prefix))
        if not symbols:
            return [piece]
        first = 1 if begins else 0
        symbols[first:] = [self._prefix + symbol for symbol in symbols[first:]]
        if bare != piece:
            symbols[-1] += self._suffix
        return symbols
