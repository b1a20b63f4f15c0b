"""What the same text costs in each language of a run: tokens a byte, a word and a parallel document, bits a byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from clustering.languages.codes import name_of
from xelm.adding.tokenizer_fit import fit_of
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.run.records.heldout import HeldoutRow, read_heldout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REFERENCE = "eng"
_FEWEST_PARALLEL = 3
"""Documents of the same id that two languages must share to be compared by them."""


@dataclass(frozen=True)
class Cost:
    """One language's cost, read with the tokenizer of its expert."""

    language: str
    expert: str
    own_pieces: bool
    """Whether that expert reads pieces of its own."""
    bytes: int
    """Held-out text measured."""
    tokens_per_byte: float
    tokens_per_word: float | None
    """None for text without words."""
    parallel_documents: int
    """Documents that English has under the same id; 0 without."""
    tokens_per_parallel: float | None
    """Tokens of such a document."""
    against_english: float | None
    """Tokens of these documents / tokens of the English ones: what the same message costs."""
    fallback_share: float
    """Share of tokens that are bytes or other pieces of a character."""
    unknown_share: float
    """Share of tokens that stand for text that cannot be written."""
    bits_per_byte: float | None
    """Test text under the language's expert; None if it was not evaluated."""


def costs(experts: ExpertSet) -> list[Cost]:
    """The cost of every language that has held-out text, the dearest first.

    Documents of one id and split are taken for the same message in two languages, if the ids are unique.
    """
    rows = {code: read_heldout(experts.files.heldout(code)) for code in experts.languages}
    rows = {code: found for code, found in rows.items() if found}
    owners = {code: experts.plan.cluster_of(code) for code in rows}
    tokenizers = {name: experts.tokenizer(name) for name in {_reader(experts, owner) for owner in owners.values()}}
    read_by = {code: tokenizers[_reader(experts, owner)] for code, owner in owners.items()}
    lengths = {code: _lengths(read_by[code], found) for code, found in rows.items()}
    result = experts.result("test")
    found = []
    for code in rows:
        cells = result.models.get(owners[code], {}) if result else {}
        bits = cells[code].bits_per_byte if code in cells else None
        found.append(_cost(experts, code, read_by[code], rows[code], lengths, bits))
    return sorted(found, key=lambda cost: (-(cost.against_english or 0.0), -cost.tokens_per_byte, cost.language))


def _cost(
    experts: ExpertSet,
    code: str,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[HeldoutRow],
    lengths: Mapping[str, Mapping[tuple[str, str], int]],
    bits: float | None,
) -> Cost:
    from clustering.sources.profiles import profile_texts
    from xelm.models.profile_tokenizers import profile_tokenizer

    name = experts.plan.cluster_of(code)
    own = experts.vocabulary(name) is not None
    texts = [row.text for row in rows]
    fit = fit_of(profile_texts(texts, profile_tokenizer(name, tokenizer)))
    english = lengths.get(_REFERENCE, {})
    shared = [key for key in lengths[code] if key in english]
    if len(shared) < _FEWEST_PARALLEL:
        shared = []
    tokens = sum(lengths[code][key] for key in shared)
    return Cost(
        language=code,
        expert=name,
        own_pieces=own,
        bytes=sum(len(text.encode()) for text in texts),
        tokens_per_byte=fit.tokens_per_byte,
        tokens_per_word=fit.tokens_per_word,
        parallel_documents=len(shared),
        tokens_per_parallel=tokens / len(shared) if shared else None,
        against_english=tokens / max(1, sum(english[key] for key in shared)) if shared else None,
        fallback_share=fit.fallback_share,
        unknown_share=fit.unknown_share,
        bits_per_byte=bits,
    )


def _reader(experts: ExpertSet, name: str) -> str:
    """The model with whose tokenizer an expert reads: itself, or the base."""
    return BASE if experts.vocabulary(name) is None else name


def _lengths(tokenizer: PreTrainedTokenizerBase, rows: Sequence[HeldoutRow]) -> dict[tuple[str, str], int]:
    """Tokens of each document by split and id; empty if ids are missing or repeat.

    The last document of a split may be cut where the run keeps no more held-out text, so it is left out.
    """
    keys = [(row.split, str(row.id)) for row in rows]
    if any(row.id is None for row in rows) or len(set(keys)) < len(keys):
        return {}
    last = {split: max(i for i, row in enumerate(rows) if row.split == split) for split in {r.split for r in rows}}
    kept = [row for number, row in enumerate(rows) if number != last[row.split]]
    if not kept:
        return {}
    ids = tokenizer([row.text for row in kept], add_special_tokens=False, split_special_tokens=True, verbose=False)
    return {(row.split, str(row.id)): len(found) for row, found in zip(kept, ids["input_ids"], strict=True)}


def figures(cost: Cost, none: str = "-") -> list[str]:
    """The figures of a language as they are shown, from tokens a byte to bits per byte; `none`: what is not known."""
    return [
        _figure(cost.tokens_per_byte, 3, none),
        _figure(cost.tokens_per_word, 2, none),
        _figure(cost.tokens_per_parallel, 0, none),
        _figure(cost.against_english, 2, none),
        f"{100 * cost.fallback_share:.1f}",
        f"{100 * cost.unknown_share:.2f}",
        _figure(cost.bits_per_byte, 3, none),
    ]


def costs_text(found: Sequence[Cost]) -> str:
    """The table for the terminal."""
    if not found:
        return "no held-out text in this run, so nothing to measure"
    rows = [
        [
            name_of(cost.language),
            f"{cost.expert}{' (own pieces)' if cost.own_pieces else ''}",
            *figures(cost),
        ]
        for cost in found
    ]
    headers = [
        "language",
        "read by",
        "tokens a byte",
        "a word",
        "a parallel text",
        "× English",
        "byte pieces %",
        "unknown %",
        "bits a byte",
    ]
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="right")


def costs_json(found: Sequence[Cost]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(cost) for cost in found]


def _figure(value: float | None, decimals: int, none: str) -> str:
    return none if value is None else f"{value:.{decimals}f}"
