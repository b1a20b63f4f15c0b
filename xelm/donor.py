"""Which expert a new language should branch from: typology, overlap and measured loss, each shown."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clustering.codes import match, name_of, resolve
from clustering.errors import BadInput
from xelm.experts import ExpertSet

_SAMPLE_BYTES = 20_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DonorCandidate:
    """What speaks for and against one model of the run as the donor."""

    name: str
    distance: float | None
    """Typological distance to the nearest of its languages, 0 to 1; None without typology (or for base and dense)."""
    nearest: str | None
    """That language."""
    overlap: float | None
    """Share of word types in common with its languages, |A ∩ T| / (|A| + |T|), the best of them."""
    bits_per_byte: float
    """Its loss on a sample of the new text, before any training."""


@dataclass(frozen=True)
class DonorChoice:
    """The donor of a new language, and why."""

    donor: str
    reason: str
    candidates: list[DonorCandidate]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def choose_donor(
    experts: ExpertSet,
    language: str,
    texts: Sequence[str],
    word_types: Mapping[str, set[str]],
    *,
    wanted: str = "auto",
) -> DonorChoice:
    """Choose the expert to branch from.

    `auto` takes the expert of least loss on the new text: it measures the text itself, where typology and overlap
    guess. Where those two point elsewhere, the reason says so.

    Args:
        experts: A finished run.
        language: The new language's ISO 639-3 code.
        texts: Held-out documents of it.
        word_types: Word types of each language of the run and of the new one, by code.
        wanted: `auto`, a language of the run, or the name of a model (`base` and `dense` too).

    Raises:
        BadInput: If `wanted` is neither.
    """
    candidates = _candidates(experts, language, texts, word_types)
    own = [c for c in candidates if c.name in experts.names]
    if wanted != "auto":
        name = _named(experts, wanted)
        return DonorChoice(name, f"{name} was asked for.", candidates)
    best = min(own, key=lambda c: c.bits_per_byte)
    reason = f"{best.name} has the least loss on the new text ({best.bits_per_byte:.3f} bits per byte)."
    near = [c for c in own if c.distance is not None]
    if near:
        nearest = min(near, key=lambda c: (c.distance, c.name))
        if nearest.name != best.name:
            reason += f" Typology points to {nearest.name} instead (nearest to {name_of(nearest.nearest or '')})."
    else:
        reason += f" Typology says nothing: URIEL does not know {name_of(language)}."
    shared = max(own, key=lambda c: c.overlap or 0.0)
    if shared.overlap and shared.name != best.name:
        reason += f" Most words are shared with {shared.name}."
    return DonorChoice(best.name, reason, candidates)


def _named(experts: ExpertSet, wanted: str) -> str:
    if wanted in experts.models:
        return wanted
    try:
        code = match(resolve(wanted).code, experts.languages)
    except BadInput:
        code = None
    if code is None:
        raise BadInput(
            f"--donor {wanted}: neither a model ({', '.join(experts.models)}) nor a language of this run "
            f"({', '.join(experts.languages)}). Use auto to have one chosen."
        )
    return experts.plan.cluster_of(code)


def _candidates(
    experts: ExpertSet, language: str, texts: Sequence[str], word_types: Mapping[str, set[str]]
) -> list[DonorCandidate]:
    from clustering.profiles import overlap
    from router.scoring import encode
    from router.token_scores import token_log_probs

    sample = _sample(texts)
    sequences, num_bytes = encode(sample, experts.tokenizer()), sum(len(text.encode()) for text in sample)
    distances = _distances(language, experts.languages)
    candidates = []
    for name in experts.models:
        nats = -sum(float(rows.sum()) for rows in token_log_probs(experts.load_model(name), sequences))
        codes = experts.plan.clusters.get(name, [])
        nearest = min((c for c in codes if c in distances), key=lambda c: distances[c], default=None)
        shares = [overlap(word_types[code], word_types[language]) for code in codes if code in word_types]
        candidates.append(
            DonorCandidate(
                name=name,
                distance=None if nearest is None else distances[nearest],
                nearest=nearest,
                overlap=max(shares, default=None),
                bits_per_byte=nats / math.log(2) / num_bytes,
            )
        )
    return candidates


def _sample(texts: Sequence[str]) -> list[str]:
    sample, room = [], _SAMPLE_BYTES
    for text in texts:
        piece = text.encode()[:room].decode("utf-8", errors="ignore")
        room -= len(piece.encode())
        if piece:
            sample.append(piece)
        if room <= 0:
            break
    return sample


def _distances(language: str, others: Sequence[str]) -> dict[str, float]:
    from clustering import distances_from

    found = {}
    for code in others:
        try:
            found[code] = float(distances_from(language, ("combined",), [code]).values["combined"][0])
        except BadInput as error:  # one of the two is not in URIEL
            logger.info("no typology between %s and %s: %s", language, code, error)
    return found
