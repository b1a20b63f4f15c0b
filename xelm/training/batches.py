"""The blocks of an optimizer step, divided among processes and into passes that fit the memory, and made ahead."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder

_AHEAD = 2
Made = TypeVar("Made")


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


def ahead(make: Callable[[int], Made], steps: range) -> Generator[Made, None, None]:
    """What a function makes of each step, made on another thread while the steps before are computed.

    Close it to end the thread early; errors of the function come where its step does.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    try:
        waiting = deque(pool.submit(make, step) for step in steps[:_AHEAD])
        for step in steps:
            made = waiting.popleft().result()
            if step + _AHEAD in steps:
                waiting.append(pool.submit(make, step + _AHEAD))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def pinned(batch: Any) -> Any:
    """A batch whose arrays lie in memory from which a GPU copies while it computes; what is no dataclass stays."""
    import torch

    if not dataclasses.is_dataclass(batch) or isinstance(batch, type):
        return batch
    values = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    # The array keeps the memory, and torch knows it again by its address.
    return dataclasses.replace(batch, **{name: torch.from_numpy(a).pin_memory().numpy() for name, a in arrays.items()})
