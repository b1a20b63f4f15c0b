"""How languages share the blocks of a training, and how that changes during the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import match
from xelm.corpus.draw import apportion, sampling_shares
from xelm.recipe.recipe import Train

_ANNEALING_PIECES = 10
"""Share of the training for which an annealed temperature is kept constant."""


@dataclass(frozen=True)
class Phase:
    """A part of a training with one mixture of languages."""

    fraction: float
    """Share of the training's blocks; the fractions of its phases sum to 1."""
    shares: dict[str, float]
    """Share of each language that is drawn in it; they sum to 1."""


def mixture(
    num_blocks: Mapping[str, int], settings: Train, num_draws: int, *, codes: Sequence[str] | None = None
) -> list[Phase]:
    """The phases of a training.

    Args:
        num_blocks: Number of blocks of each language of the run.
        settings: Sampling, temperatures, and when languages enter.
        num_draws: Blocks drawn in a training over all languages; `unimax` caps epochs by it.
        codes: Languages of this training; None: all. They are drawn in the same proportions as among all languages.

    Raises:
        BadInput: If `enters` names a language that is not there, or leaves none for the beginning.
    """
    mine = list(num_blocks) if codes is None else list(codes)
    if settings.sampling == "unimax":
        shares = unimax_shares(num_blocks, num_draws, settings.max_epochs)
        mass = sum(shares[code] for code in mine)
        return [Phase(1.0, {code: shares[code] / mass for code in mine})]
    enters = entries(list(num_blocks), settings)
    borders = sorted({0.0, 1.0, *enters.values(), *_annealing_borders(settings)})
    phases = []
    for begin, end in pairwise(borders):
        present = [code for code in num_blocks if enters.get(code, 0.0) <= begin]
        temperature = _temperature(settings, (begin + end) / 2)
        whole = sampling_shares({code: num_blocks[code] for code in present}, temperature)
        own = {code: num_blocks[code] for code in mine if code in present}
        if own:
            mass = sum(whole[code] for code in own)
            phases.append(Phase((end - begin) * mass, sampling_shares(own, temperature)))
    total = sum(phase.fraction for phase in phases)
    return [Phase(phase.fraction / total, phase.shares) for phase in phases]


def with_replay(phases: list[Phase], others: Mapping[str, float], share: float) -> list[Phase]:
    """The phases of a training with a share of its blocks drawn from other languages.

    Args:
        phases: The training's own.
        others: Other languages with their weights, which may have any sum above 0.
        share: Share of the blocks of each phase, in [0, 1).
    """
    mass = sum(others.values())
    replayed = {code: share * weight / mass for code, weight in others.items()}
    return [
        Phase(phase.fraction, {code: (1 - share) * value for code, value in phase.shares.items()} | replayed)
        for phase in phases
    ]


def mean_shares(phases: list[Phase]) -> dict[str, float]:
    """Share of each language over all phases."""
    means: dict[str, float] = {}
    for phase in phases:
        for code, share in phase.shares.items():
            means[code] = means.get(code, 0.0) + phase.fraction * share
    return means


def phase_counts(phases: list[Phase], num_draws: int) -> list[dict[str, int]]:
    """Blocks of each language in each phase; together `num_draws`."""
    lengths = apportion(num_draws, {str(index): phase.fraction for index, phase in enumerate(phases)})
    return [apportion(lengths[str(index)], phase.shares) for index, phase in enumerate(phases)]


def unimax_shares(num_blocks: Mapping[str, int], num_draws: int, max_epochs: float) -> dict[str, float]:
    """Even shares, but no language read more than `max_epochs` times (UniMax: Chung et al. 2023, algorithm 1).

    From the smallest language on, each gets an equal part of the remaining draws, or as many as it may have; the rest
    goes to the larger ones. If all of them together have too little text, the shares are by size.
    """
    shares, left = dict[str, float](), float(num_draws)
    by_size = sorted(num_blocks, key=lambda code: (num_blocks[code], code))
    for index, code in enumerate(by_size):
        shares[code] = min(left / (len(by_size) - index), max_epochs * num_blocks[code])
        left -= shares[code]
    total = sum(shares.values())
    return {code: shares[code] / total for code in num_blocks}


def entries(codes: Sequence[str], settings: Train) -> dict[str, float]:
    """The languages of `enters` by their codes, with the share of the training after which they come.

    Raises:
        BadInput: If one has no text or is named twice, or no language is left for the beginning.
    """
    found: dict[str, float] = {}
    for language, share in settings.enters.items():
        code = match(language, codes)
        if code is None:
            raise BadInput(f"[train] enters: no text for '{language}'. There is: {', '.join(sorted(codes))}.")
        if code in found:
            raise BadInput(f"[train] enters: '{language}' is {code}, which another key names too. Keep one of them.")
        found[code] = share
    if codes and all(found.get(code, 0.0) > 0 for code in codes):
        raise BadInput("[train] enters: every language comes later, so none is there at the beginning.")
    return found


def _annealing_borders(settings: Train) -> list[float]:
    if settings.final_sampling_temperature is None:
        return []
    borders: list[float] = np.linspace(0, 1, _ANNEALING_PIECES + 1).tolist()
    return borders


def _temperature(settings: Train, done: float) -> float:
    begin, end = settings.sampling_temperature, settings.final_sampling_temperature
    if end is None:
        return begin
    return 1 / ((1 - done) / begin + done / end)
