"""Languages that no expert was trained on: the base answers, unless the models' own losses say otherwise.

Judging such a language by its relatives sends it to experts that read it worse: an expert gains on its own languages
and loses on others. In a run of experts of German, Turkish and Ukrainian on an English base, English itself went to
the Ukrainian expert.
Shape letters: `L` languages, `K` experts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from router.routes.affinity import matches, softmax

# Bits per byte by which an expert is expected to read a language worse than the base where nothing was measured: ten
# times the usual `loss_temperature`, so that the base has all weight: e^-10 for each of a few experts. More of them are
# held to the same sum, or hundreds would have a percent of the weight together, and `bayes` would run them all.
UNMEASURED_PENALTY, FEW_EXPERTS = 0.2, 16
# An expert's loss on a few texts must be less than the base's by this share to count: a probe is short.
PROBE_MARGIN = 0.02


@dataclass(frozen=True)
class Unowned:
    """What is known of the languages that no expert owns, where a base answers.

    Attributes:
        rows: Indices of these languages among the L.
        languages: Their codes.
        base: Index of the base among the experts; None without one: nothing is then changed.
        probed_of: Row -> losses of the K experts, measured on a few texts, with `PROBE_MARGIN` on all but the base.
        measured: Codes whose losses are in the run's own table.
    """

    rows: tuple[int, ...]
    languages: tuple[str, ...]
    base: int | None
    probed_of: dict[int, np.ndarray]
    measured: frozenset[str]

    @classmethod
    def of(
        cls,
        languages: Sequence[str],
        owned: Collection[str],
        experts: Sequence[str],
        base: str | None,
        losses: Mapping[str, Mapping[str, float]],
        probed: Mapping[str, Mapping[str, float]],
    ) -> Unowned:
        """Sort the languages by what was measured of them (losses: expert -> language -> bits per byte)."""
        rows = tuple(row for row, language in enumerate(languages) if language not in owned) if base else ()
        unowned = tuple(languages[row] for row in rows)
        columns = _columns(losses, experts, unowned)
        measured = frozenset(language for language, column in columns.items() if column is not None)
        probed_of = {}
        for row, column in zip(rows, _columns(probed, experts, unowned).values(), strict=True):
            if column is not None and languages[row] not in measured:
                handicap = np.array([1.0 if name == base else 1 + PROBE_MARGIN for name in experts])
                probed_of[row] = column * handicap
        index = list(experts).index(base) if base else None
        return cls(rows, tuple(languages[row] for row in rows), index, probed_of, measured)

    def affinity(self, affinity_LK: np.ndarray, temperature: float) -> np.ndarray:
        """Shares of the experts, shape (L, K), with those of the unowned languages replaced."""
        changed_LK = affinity_LK.copy()
        for row in self.rows:
            probed_K = self.probed_of.get(row)
            changed_LK[row] = (
                np.eye(len(changed_LK[row]))[self.base] if probed_K is None else softmax(-probed_K / temperature)
            )
        return changed_LK

    def losses(self, table_KL: np.ndarray, temperature: float) -> np.ndarray:
        """Losses of the experts, shape (K, L), with those of the unowned languages replaced unless measured.

        Args:
            table_KL: Losses, measured or expected from other languages.
            temperature: Weights are softmax(-loss / temperature).
        """
        changed_KL = table_KL.copy()
        penalty = UNMEASURED_PENALTY + temperature * np.log(max(1.0, len(table_KL) / FEW_EXPERTS))
        for row, language in zip(self.rows, self.languages, strict=True):
            if row in self.probed_of:
                changed_KL[:, row] = self.probed_of[row]
            elif language not in self.measured and self.base is not None:
                changed_KL[:, row] = table_KL[self.base, row] + penalty
                changed_KL[self.base, row] = table_KL[self.base, row]
        return changed_KL

    def reason(self, language: str, expert: str, base: str) -> str:
        """The end of the sentence that begins "No expert was trained on it; "."""
        row = self.rows[self.languages.index(language)]
        if row in self.probed_of:
            compared = "reads it best" if expert != base else "reads it best or nearly so"
            return f"{expert} {compared}, by the models' loss on a few texts of it"
        if language in self.measured:
            return f"{expert} has the least expected loss"
        if expert == base:
            return f"{base} answers"
        return f"{expert} has the least expected loss over all languages that it may be"


def _columns(
    losses: Mapping[str, Mapping[str, float]], experts: Sequence[str], languages: tuple[str, ...]
) -> dict[str, np.ndarray | None]:
    """Language -> the losses of all experts on it; None if one of them lacks it."""
    if not all(losses.get(name) for name in experts):
        return dict.fromkeys(languages)
    found = [matches(languages, tuple(losses[name])) for name in experts]
    columns: dict[str, np.ndarray | None] = {}
    for row, language in enumerate(languages):
        codes = [of_expert[row] for of_expert in found]
        values = [losses[name][code] for name, code in zip(experts, codes, strict=True) if code is not None]
        columns[language] = np.array(values) if len(values) == len(experts) else None
    return columns
