"""Blocks of a language: they depend on the language alone, whatever languages it is trained with.

`xelm train` draws the blocks of a model from its name, so that a language in two plans is read in two samples. Here a
language has one order of its blocks, and a budget takes so many from its beginning: experts of all plans, the dense
baseline and shorter branches read the same ones. A budget is in whole optimizer steps for each language, so that no
plan gains or loses a block by rounding.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from clustering.errors import BadInput
from xelm.corpus.draw import DrawOrder, apportion, shuffled_languages
from xelm.corpus.mixture import mean_shares, mixture
from xelm.recipe.recipe import Train


def blocks_of_budget(
    train: Train, num_blocks: Mapping[str, int], sequence_length: int, *, fraction: float = 1.0
) -> dict[str, int]:
    """Blocks that each language brings: its share of the budget, in whole steps.

    Args:
        train: The budget and how languages share it.
        num_blocks: Training blocks there are of each language.
        sequence_length: Tokens of a block.
        fraction: Share of the budget.

    Raises:
        BadInput: If the shares would depend on the plan, or leave a language no step.
    """
    if train.share != "languages":
        raise BadInput(
            '[train] share = "equal" gives a language more or less text by the plan it is in, so plans cannot be '
            'compared. Use share = "languages".'
        )
    step_tokens = train.batch_size * sequence_length
    total = max(1, round(fraction * train.tokens / step_tokens))
    everyone = {code: num_blocks[code] for code in sorted(num_blocks)}
    shares = mean_shares(mixture(everyone, train, total * train.batch_size))
    steps = apportion(total, shares)
    if starved := [code for code, count in steps.items() if not count]:
        raise BadInput(
            f"[train] tokens={train.tokens} leaves no step of {step_tokens} tokens for {', '.join(starved)}. "
            "Raise tokens, or lower batch_size or sequence_length."
        )
    return {code: count * train.batch_size for code, count in steps.items()}


def phases_of(train: Train, num_blocks: Mapping[str, int], brought: Mapping[str, int]) -> list[dict[str, int]]:
    """The blocks of each language over the phases of a training in which the mixture changes.

    Args:
        train: Decides the mixture.
        num_blocks: Training blocks there are of each language of the run.
        brought: Blocks of each language of this training.
    """
    everyone = {code: num_blocks[code] for code in sorted(num_blocks)}
    phases = mixture(everyone, train, sum(brought.values()))
    counts: list[dict[str, int]] = [{} for _ in phases]
    for code, total in brought.items():
        weights = {str(index): phase.fraction * phase.shares.get(code, 0.0) for index, phase in enumerate(phases)}
        for index, count in apportion(total, weights).items():
            counts[int(index)][code] = count
    return counts


def draw_own_blocks(
    num_blocks: Mapping[str, int], phases: Sequence[Mapping[str, int]], *, seed: int, name: str
) -> DrawOrder:
    """The order of a training: `seed` and `name` decide how languages mix; each has its blocks in its own order.

    Every block of a language comes once before any comes twice.

    Args:
        num_blocks: Blocks there are of each language of the training.
        phases: For each phase, how many blocks of each language.
        seed: Of the run.
        name: Name of the training.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    languages = tuple(sorted(num_blocks))
    language = shuffled_languages(rng, languages, phases)
    block = np.empty(len(language), dtype=np.int64)
    for index, code in enumerate(languages):
        places = np.flatnonzero(language == index)
        block[places] = _own_order(code, num_blocks[code], len(places), seed)
    return DrawOrder(languages, language, block)


def _own_order(code: str, num_blocks: int, number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(f"blocks of {code}".encode())])
    rounds = [rng.permutation(num_blocks) for _ in range(-(-number // num_blocks))]
    return np.concatenate([*rounds, np.empty(0, dtype=np.int64)])[:number]
