"""Cut long sequences into overlapping windows, and group windows into batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clustering.errors import BadInput


@dataclass(frozen=True)
class Window:
    """A part of a sequence for one pass.

    Attributes:
        row: Index of the sequence.
        start: Index of the first token given to the model.
        stop: Index one past the last token.
        first_scored: Index of the first token whose probability counts here; those before it are context.
    """

    row: int
    start: int
    stop: int
    first_scored: int


def windows_of(row: int, length: int, context: int, stride: int | None = None) -> list[Window]:
    """Cut a sequence so that each token but its first is scored once.

    Args:
        row: Index of the sequence.
        length: Number of its tokens; with fewer than 2 there is nothing to score.
        context: Tokens in a window, >= 2.
        stride: Number of tokens from window to window, 1 .. context - 1; half the context if None.

    Returns:
        Windows whose scored parts are 1 .. length - 1, in order. Each but the first is full, and each scored token
        outside the first window has at least context - stride tokens before it.
    """
    if context < 2:
        raise BadInput(f"context={context} leaves no room to predict anything. Choose at least 2 tokens.")
    step = stride if stride is not None else max(1, context // 2)
    if not 1 <= step < context:
        raise BadInput(f"stride={step} must be at least 1 and less than the context of {context} tokens.")
    if length < 2:
        return []
    windows = [Window(row, 0, min(length, context), 1)]
    while windows[-1].stop < length:
        scored_to = windows[-1].stop
        stop = min(length, scored_to + step)
        windows.append(Window(row, stop - context, stop, scored_to))
    return windows


def windows_until(end: int, windows: Sequence[Window]) -> list[Window]:
    """The windows, or parts of them, that score the tokens before `end`."""
    return [replace(w, stop=min(w.stop, end)) for w in windows if w.first_scored < end]


def batches(windows: Sequence[Window], max_tokens: int) -> Iterator[list[Window]]:
    """Group windows of similar length, longest first, so that rows x longest is at most `max_tokens` (or one row)."""
    ordered = sorted(windows, key=lambda window: window.start - window.stop)
    batch: list[Window] = []
    for window in ordered:
        longest = batch[0].stop - batch[0].start if batch else 0
        if batch and (len(batch) + 1) * longest > max_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch
