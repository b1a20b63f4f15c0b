"""The three signals of a donor that need no training: loss on the new text, typology, and types in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clustering.languages.codes import name_of
from xelm.run.names import is_dense, is_expert
from xelm.run.records.ledger import DonorCandidate

NUM_STARTS = 3
"""Starts that are tried."""
BLIND_BITS = 8.0
"""Bits per byte of a model that knows nothing: above it, a greater loss does not mean a greater distance."""


@dataclass(frozen=True)
class Signals:
    """The expert that each signal points to; None if a signal is unknown."""

    by_loss: DonorCandidate
    by_typology: DonorCandidate | None
    by_overlap: DonorCandidate | None

    @classmethod
    def of(cls, own: Sequence[DonorCandidate]) -> Signals:
        """Of the run's experts."""
        known = [c for c in own if c.distance is not None]
        sharing = [c for c in own if c.types_shared]
        return cls(
            by_loss=min(own, key=lambda c: (c.bits_per_byte, c.name)),
            by_typology=min(known, key=lambda c: (c.distance, c.name), default=None),
            by_overlap=max(sharing, key=lambda c: (c.types_shared or 0.0, c.name), default=None),
        )

    @property
    def are_blind(self) -> bool:
        """Whether every expert reads the text worse than blind guessing: then loss carries no kinship."""
        return self.by_loss.bits_per_byte >= BLIND_BITS

    def decide(self) -> tuple[str, str]:
        """The donor, and why in a sentence."""
        loss = self.by_loss.bits_per_byte
        if not self.are_blind:
            name = self.by_loss.name
            return name, f"{name} has the least loss of all experts on the new text ({loss:.3f} bits per byte)."
        blind = f"no expert reads the text better than blind guessing would ({loss:.1f} bits per byte at best)"
        for other, signal in ((self.by_typology, "typology"), (self.by_overlap, "overlap")):
            if other is not None:
                return other.name, f"{other.name} is nearest by {signal}; {blind}, so loss does not decide."
        return self.by_loss.name, f"{self.by_loss.name} has the least loss, though {blind}: nothing else is known."

    def remarks(self, chosen: str, language: str) -> list[str]:
        """Sentences on whether each signal agrees with the choice."""
        sentences = [] if self.by_loss.name == chosen else [f"Loss points to {self.by_loss.name}."]
        if self.by_typology is None:
            sentences.append(f"Typology says nothing: URIEL does not know {name_of(language)}.")
        else:
            near = f"nearest: {name_of(self.by_typology.nearest or '')}"
            agrees = self.by_typology.name == chosen
            sentences.append(f"Typology {'agrees' if agrees else f'points to {self.by_typology.name}'} ({near}).")
        if self.by_overlap is None:
            sentences.append("It shares no words with any expert's languages.")
        else:
            agrees = self.by_overlap.name == chosen
            sentences.append(f"Overlap {'agrees' if agrees else f'points to {self.by_overlap.name}'}.")
        return sentences

    def alone(self) -> dict[str, str | None]:
        """The expert that each signal alone would have chosen."""
        found = {"loss": self.by_loss, "typology": self.by_typology, "overlap": self.by_overlap}
        return {signal: candidate.name if candidate else None for signal, candidate in found.items()}


def likeliest(candidates: Sequence[DonorCandidate], number: int = NUM_STARTS) -> list[str]:
    """The starts that are worth a trial, the likeliest first.

    The first is the expert of best mean rank by loss, typology and overlap. The others are those of least loss among
    all that remain, base and dense too. The dense baseline has read all that the base has, and more, so it never stands
    behind the base. If loss says nothing (every expert is worse than blind guessing), the expert is chosen by typology
    and overlap alone, and base and dense come next.

    Args:
        candidates: All models that may be the donor, with their signals.
        number: How many to try.
    """
    own = [c for c in candidates if is_expert(c.name)]
    shared = [c for c in candidates if not is_expert(c.name)]
    if not own:
        return [c.name for c in sorted(shared, key=lambda c: not is_dense(c.name))][:number]
    is_blind = Signals.of(own).are_blind
    first, *others = sorted(own, key=_mean_rank(own, with_loss=not is_blind))
    least_shared = min((c.bits_per_byte for c in shared), default=0.0)

    def place(candidate: DonorCandidate) -> tuple[float, bool, str]:
        loss = least_shared if is_dense(candidate.name) else candidate.bits_per_byte
        return loss, not is_dense(candidate.name), candidate.name

    rest = [*sorted(shared, key=place), *others] if is_blind else sorted([*shared, *others], key=place)
    return [c.name for c in (first, *rest)][:number]


def _mean_rank(
    own: Sequence[DonorCandidate], *, with_loss: bool
) -> Callable[[DonorCandidate], tuple[float, float, str]]:
    """A key that sorts by mean rank over the signals that are known of any; ties go to the lesser loss."""
    worst = float("inf")
    tables = [{c.name: c.bits_per_byte for c in own}] if with_loss else []
    tables.append({c.name: worst if c.distance is None else c.distance for c in own})
    tables.append({c.name: -(c.types_shared or 0.0) for c in own})
    told = [table for table in tables if len(set(table.values())) > 1]

    def key(candidate: DonorCandidate) -> tuple[float, float, str]:
        ranks = [sum(value < table[candidate.name] for value in table.values()) for table in told]
        return sum(ranks) / max(1, len(ranks)), candidate.bits_per_byte, candidate.name

    return key
