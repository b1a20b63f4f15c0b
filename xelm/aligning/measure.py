"""Read the pairs with every model and measure how well translations find each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xelm.aligning.alignment import MEAN, AlignmentRow, Found, Leakage
from xelm.aligning.pairs import Pair, PairSet
from xelm.aligning.probes import Hits, Vectors, leakage, retrieval
from xelm.aligning.readers import Reader
from xelm.transferring.features.encoder import Encoder
from xelm.transferring.measures.bootstrap import Draws
from xelm.transferring.measures.bootstrap import Hits as Right

_MOST_FOR_LEAKAGE = 500
_REPLICATES = 1000


class Measurement:
    """Figures of models on the same pairs."""

    def __init__(self, pairs: Mapping[str, PairSet], pivot: str, *, most: int) -> None:
        """Choose the pairs.

        Args:
            pairs: Language -> pairs.
            pivot: The pivot's code.
            most: Most pairs of a language that are tested, and most that means and rotation come from.
        """
        self.pivot = pivot
        self._fit = {code: own.fit[:most] for code, own in pairs.items()}
        self._held = {code: own.held[:most] for code, own in pairs.items()}
        self.notes = [
            f"{code}: {most} of {len(own.held)} held-out pairs are tested"
            for code, own in pairs.items()
            if len(own.held) > most
        ]
        self._draws = Draws({code: [pair.pivot for pair in own] for code, own in self._held.items()}, _REPLICATES)

    def of(self, reader: Reader, encoder: Encoder) -> tuple[list[AlignmentRow], Leakage | None]:
        """The rows of one model, and how much of the language its vectors hold."""
        vectors = self._read(reader, encoder)
        hits = {code: retrieval(own) for code, own in vectors.items()}
        rows = [
            AlignmentRow(reader.name, code, len(self._held[code]), len(self._fit[code]), self._both({code: own}))
            for code, own in hits.items()
        ]
        for code, own in vectors.items():
            self._warn_of_rotation(code, own)
        if len(rows) > 1:
            tested = sum(row.tested for row in rows)
            fitted = sum(row.fitted for row in rows)
            rows.append(AlignmentRow(reader.name, MEAN, tested, fitted, self._both(hits)))
        return rows, self._leakage(reader.name, vectors)

    def _read(self, reader: Reader, encoder: Encoder) -> dict[str, Vectors]:
        """Vectors of the pairs; each pivot sentence is read once for all languages."""
        sides = {code: [*self._held[code], *self._fit[code]] for code in reader.languages}
        pivots = list(dict.fromkeys(pair.pivot for own in sides.values() for pair in own))
        theirs = dict(zip(pivots, np.asarray(encoder.texts(pivots)), strict=True))
        found = {}
        for code, own in sides.items():
            ours, number = np.asarray(encoder.texts([pair.text for pair in own])), len(self._held[code])
            other = np.stack([theirs[pair.pivot] for pair in own])
            found[code] = Vectors(ours[:number], other[:number], ours[number:], other[number:])
        return found

    def _both(self, hits: Mapping[str, Mapping[str, Hits]]) -> dict[str, Found]:
        """Accuracies of every way that all languages have, in the mean over languages."""
        common = [way for way in next(iter(hits.values())) if all(way in own for own in hits.values())]
        found = {}
        for way in common:
            sides = []
            for side in ("to_pivot", "from_pivot"):
                right = {code: _right(getattr(own[way], side)) for code, own in hits.items()}
                sides.append(self._draws.interval(self._draws.accuracies(right).mean(axis=1)))
            found[way] = Found(*sides)
        return found

    def _warn_of_rotation(self, code: str, vectors: Vectors) -> None:
        number, dimensions = vectors.fit_ours.shape[0], vectors.ours.shape[1]
        if number == 0:
            self._note(f"{code}: no pairs to fit a rotation; means are those of the tested sentences")
        elif number < 2 * dimensions:
            self._note(
                f"{code}: the rotation (Procrustes) is fitted on {number} pairs for {dimensions} dimensions; fewer "
                f"than {2 * dimensions} may harm more than they help, so do not build on it"
            )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _leakage(self, name: str, vectors: Mapping[str, Vectors]) -> Leakage | None:
        """None if there is nothing to learn from, or too little."""
        fit = {code: own.fit_ours[:_MOST_FOR_LEAKAGE] for code, own in vectors.items()}
        held = {code: own.ours[:_MOST_FOR_LEAKAGE] for code, own in vectors.items()}
        fit[self.pivot] = self._once({code: own.fit_theirs for code, own in vectors.items()}, self._fit)
        held[self.pivot] = self._once({code: own.theirs for code, own in vectors.items()}, self._held)
        if min(len(own) for own in fit.values()) < 2:
            self._note("language leakage is not measured: each language needs two pairs to learn from")
            return None
        codes = sorted(fit)
        raw, centred = (leakage(fit, held, centred=way) for way in (False, True))
        return Leakage(name, codes, raw, centred, 1 / len(codes))

    @staticmethod
    def _once(vectors: Mapping[str, np.ndarray], pairs: Mapping[str, Sequence[Pair]]) -> np.ndarray:
        """Vectors of pivot sentences, each once."""
        found: dict[str, np.ndarray] = {}
        for code, own in vectors.items():
            found |= {pair.pivot: vector for pair, vector in zip(pairs[code], own, strict=True)}
        chosen = list(found.values())[:_MOST_FOR_LEAKAGE]
        return np.stack(chosen) if chosen else np.empty((0, 1))


def _right(hits_N: np.ndarray) -> Right:
    return Right(hits_N.astype(np.float64), np.ones(len(hits_N)))
