"""Choose the model that a new language branches from, by typology, overlap and measured loss."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.sources.profiles import Profile, overlap
from xelm.adding.donors.signals import Signals
from xelm.evaluation.log_probs import measure
from xelm.run.experts import Document, ExpertSet
from xelm.run.records.ledger import DonorCandidate

_SAMPLE_BYTES = 20_000
_LONGEST_CHARACTER_BYTES = 4
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DonorChoice:
    """The donor of a new language, and the reason for it."""

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

    `auto` takes the expert of least loss on the new text: loss is measured on the text itself, while typology and
    overlap are guesses (experiments/new_language compares the three). If every expert does worse than guessing bytes
    blindly, as with a script that none has seen, loss does not show which expert is near; then typology decides, and
    without it overlap. If the signals disagree, the reason says so.

    Args:
        experts: A finished run.
        language: The new language's ISO 639-3 code.
        texts: Held-out documents of the new language.
        profiles: Profiles of the new language and the run's languages, by code, made with the run's tokenizer.
        wanted: `auto`, or the name of a model (`base` and `dense` too).

    Returns:
        The choice, with the three signals of every model of the run.
    """
    candidates = weigh_candidates(experts, language, texts, profiles)
    own = [c for c in candidates if c.name in experts.names]
    signals = Signals.of(own)
    name, why = signals.decide() if wanted == "auto" else (wanted, f"{wanted} was asked for.")
    reason = [why, *signals.remarks(name, language)]
    shared = min((c for c in candidates if c not in own), key=lambda c: c.bits_per_byte)
    if wanted == "auto" and shared.bits_per_byte < signals.by_loss.bits_per_byte:
        reason.append(f"The model {shared.name} has even less loss ({shared.bits_per_byte:.3f}).")
    return DonorChoice(name, " ".join(reason), candidates)


def weigh_candidates(
    experts: ExpertSet, language: str, texts: Sequence[str], profiles: Mapping[str, Profile]
) -> list[DonorCandidate]:
    """The three signals of every model of the run; arguments as for `choose_donor`."""
    distances, losses = _distances(language, experts.languages), _losses(experts, language, texts)
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


def _best_overlap(language: str, codes: Sequence[str], types: Mapping[str, Mapping[str, int]]) -> float | None:
    shares = [overlap(types[code], types[language]) for code in codes if types.get(code) and types.get(language)]
    return max(shares, default=None)


def _subwords(profiles: Mapping[str, Profile]) -> dict[str, dict[str, int]]:
    # Subwords of at most a character's bytes distinguish scripts, not languages.
    lengths = (len(token) for profile in profiles.values() for token in profile.subwords)
    if max(lengths, default=0) <= _LONGEST_CHARACTER_BYTES:
        return {}
    return {code: profile.subwords for code, profile in profiles.items()}


def _losses(experts: ExpertSet, language: str, texts: Sequence[str]) -> dict[str, float]:
    """Bits per byte of every model on a sample of the texts."""
    sample = [Document(language, text) for text in sample_of(texts)]
    num_bytes = sum(len(document.text.encode()) for document in sample)
    losses = {}
    for name in experts.models:
        log_probs = measure(experts, experts.load_model(name), sample, name)
        nats = -sum(float(log_probs_T.sum(dtype=np.float64)) for log_probs_T in log_probs)
        losses[name] = nats / math.log(2) / num_bytes
    return losses


def sample_of(texts: Sequence[str]) -> list[str]:
    """The first texts, 20,000 bytes in all, on which donors are compared."""
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
