"""Which model a new language should branch from: typology, overlap and measured loss, each shown."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clustering.codes import name_of
from clustering.errors import BadInput
from clustering.profiles import Profile, overlap
from xelm.experts import ExpertSet

_SAMPLE_BYTES = 20_000
_LONGEST_CHARACTER_BYTES = 4
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
    subword_overlap: float | None
    """The same of the tokenizer's subwords; None for a tokenizer of single bytes."""
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
    profiles: Mapping[str, Profile],
    *,
    wanted: str = "auto",
) -> DonorChoice:
    """Choose the model to branch from.

    `auto` takes the expert of least loss on the new text: loss is measured on the text itself, where typology and
    overlap guess (experiments/new_language compares the three). Where these point elsewhere, the reason says so.

    Args:
        experts: A finished run.
        language: The new language's ISO 639-3 code.
        texts: Held-out documents of it.
        profiles: By code, of it and of the run's languages, made with the run's tokenizer.
        wanted: `auto`, or the name of a model (`base` and `dense` too).

    Returns:
        The choice, with the three signals of every model of the run.
    """
    candidates = weigh_candidates(experts, language, texts, profiles)
    own = [c for c in candidates if c.name in experts.names]
    best = min(own, key=lambda c: (c.bits_per_byte, c.name))
    chosen = best if wanted == "auto" else next(c for c in candidates if c.name == wanted)
    reason = [f"{chosen.name} was asked for."] if wanted != "auto" else []
    verb = "has" if chosen is best else "would be chosen by loss: it has"
    reason.append(f"{best.name} {verb} the least loss of all experts on the new text ({best.bits_per_byte:.3f} bits).")
    reason.append(_word_of_typology(own, best, language))
    reason.append(_word_of_overlap(own, best))
    return DonorChoice(chosen.name, " ".join(reason), candidates)


def weigh_candidates(
    experts: ExpertSet, language: str, texts: Sequence[str], profiles: Mapping[str, Profile]
) -> list[DonorCandidate]:
    """The three signals of every model of the run; arguments as for `choose_donor`."""
    distances, losses = _distances(language, experts.languages), _losses(experts, texts)
    candidates = []
    for name in experts.models:
        codes = experts.plan.clusters.get(name, [])
        nearest = min((c for c in codes if c in distances), key=lambda c: distances[c], default=None)
        candidates.append(
            DonorCandidate(
                name=name,
                distance=None if nearest is None else distances[nearest],
                nearest=nearest,
                overlap=_best_overlap(language, codes, {code: p.words for code, p in profiles.items()}),
                subword_overlap=_best_overlap(language, codes, _subwords(profiles)),
                bits_per_byte=losses[name],
            )
        )
    return candidates


def _word_of_typology(own: list[DonorCandidate], best: DonorCandidate, language: str) -> str:
    known = [c for c in own if c.distance is not None]
    if not known:
        return f"Typology says nothing: URIEL does not know {name_of(language)}."
    nearest = min(known, key=lambda c: (c.distance, c.name))
    if nearest.name == best.name:
        return f"Typology agrees (nearest: {name_of(nearest.nearest or '')})."
    return f"Typology points to {nearest.name} instead (nearest: {name_of(nearest.nearest or '')})."


def _word_of_overlap(own: list[DonorCandidate], best: DonorCandidate) -> str:
    # Words decide where the tokenizer has no subwords to compare.
    shared = {c.name: c.overlap if c.subword_overlap is None else c.subword_overlap for c in own}
    if not any(shared.values()):
        return "It shares no words with any expert's languages."
    most = max(own, key=lambda c: (shared[c.name] or 0.0, c.name)).name
    return "So does overlap." if most == best.name else f"Overlap points to {most}."


def _best_overlap(language: str, codes: Sequence[str], types: Mapping[str, Mapping[str, int]]) -> float | None:
    shares = [overlap(types[code], types[language]) for code in codes if types.get(code) and types.get(language)]
    return max(shares, default=None)


def _subwords(profiles: Mapping[str, Profile]) -> dict[str, dict[str, int]]:
    # Subwords of at most a character's bytes tell scripts apart, not languages.
    lengths = (len(token) for profile in profiles.values() for token in profile.subwords)
    if max(lengths, default=0) <= _LONGEST_CHARACTER_BYTES:
        return {}
    return {code: profile.subwords for code, profile in profiles.items()}


def _losses(experts: ExpertSet, texts: Sequence[str]) -> dict[str, float]:
    """Bits per byte of every model on a sample of the texts."""
    from router.scoring import encode
    from router.token_scores import token_log_probs

    sample = _sample(texts)
    sequences, num_bytes = encode(sample, experts.tokenizer()), sum(len(text.encode()) for text in sample)
    losses = {}
    for name in experts.models:
        nats = -sum(float(log_probs_T.sum()) for log_probs_T in token_log_probs(experts.load_model(name), sequences))
        losses[name] = nats / math.log(2) / num_bytes
    return losses


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
            logger.debug("no typology between %s and %s: %s", language, code, error)
    return found
