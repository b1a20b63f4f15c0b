"""The blocks of one optimizer step, divided among processes and into passes that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder


def draws_of_step(
    step: int, batch_size: int, micro_batch_size: int | None, process: int, num_processes: int
) -> Iterator[np.ndarray]:
    """Indices into the draw order that one process reads in a step, one micro-batch at a time."""
    mine = np.arange(step * batch_size, (step + 1) * batch_size)[process::num_processes]
    micro = micro_batch_size or len(mine)
    for begin in range(0, len(mine), micro):
        yield mine[begin : begin + micro]


def gather(order: DrawOrder, blocks: Mapping[str, Blocks], draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of some draws: token and position ids, each (draws, tokens of a block)."""
    shape = (len(draws), sequence_length(blocks))
    input_ids, position_ids = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    language, block = order.language[draws], order.block[draws]
    for index in np.unique(language):
        rows = language == index
        input_ids[rows], position_ids[rows] = blocks[order.languages[index]].take(block[rows])
    return input_ids, position_ids


def gather_judged(order: DrawOrder, blocks: Mapping[str, Blocks], draws: np.ndarray) -> np.ndarray | None:
    """Which tokens of the blocks of some draws are learnt, (draws, tokens of a block) bool; None: all of them."""
    judged = np.ones((len(draws), sequence_length(blocks)), dtype=bool)
    language, block = order.language[draws], order.block[draws]
    for index in np.unique(language):
        rows = language == index
        own = blocks[order.languages[index]].judged(block[rows])
        if own is not None:
            judged[rows] = own
    return None if judged.all() else judged


def sequence_length(blocks: Mapping[str, Blocks]) -> int:
    """Number of tokens of a block, which is the same for all languages."""
    return next(iter(blocks.values())).sequence_length
