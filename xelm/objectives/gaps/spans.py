"""Spans of tokens to be left out of a text, in the numbers and lengths of T5 (Raffel et al. 2020)."""

from __future__ import annotations

import numpy as np

NOISE = 0.15
"""Share of tokens that are left out."""
MEAN_LENGTH = 3.0
"""Mean number of tokens of a span."""


def noise_of(num_tokens: int) -> tuple[int, int]:
    """How many tokens of a text are left out, and in how many spans: (0, 0) for fewer than two tokens.

    At least one token is left out and one stays; between two spans at least one stays.
    """
    if num_tokens < 2:
        return 0, 0
    noise = min(max(round(num_tokens * NOISE), 1), num_tokens - 1)
    spans = max(round(noise / MEAN_LENGTH), 1)
    return noise, min(spans, num_tokens - noise)


def corrupted_lengths(num_tokens: int) -> tuple[int, int]:
    """Tokens of the encoder's input and of the decoder's target for one text, with the end token of each."""
    noise, spans = noise_of(num_tokens)
    return num_tokens - noise + spans + 1, noise + spans + 1


def composition(rng: np.random.Generator, total: int, parts: int) -> np.ndarray:
    """Cut `total` tokens into `parts` pieces of at least one; every way to do so is equally likely, shape (parts,)."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff([0, *cuts.tolist(), total])


def random_spans(rng: np.random.Generator, num_tokens: int) -> list[tuple[int, int]]:
    """The spans of a text that are left out, as (start, stop), in order.

    Every choice of spans with a kept token between any two is equally likely. (T5 ends every text with a span, which
    in a short text would be the only one.)
    """
    noise, spans = noise_of(num_tokens)
    if not spans:
        return []
    lengths = composition(rng, noise, spans)
    kept = composition(rng, num_tokens - noise + 2, spans + 1)
    kept[0] -= 1  # before the first span and after the last there may be nothing
    stops = np.cumsum(kept[:-1] + lengths)
    return list(zip((stops - lengths).tolist(), stops.tolist(), strict=True))


def covering_spans(rng: np.random.Generator, num_tokens: int) -> list[tuple[int, int]]:
    """Cut a whole text into spans of the mean length, as (start, stop), in order."""
    if not num_tokens:
        return []
    stops = np.cumsum(composition(rng, num_tokens, max(1, round(num_tokens / MEAN_LENGTH))))
    return list(zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True))


def left_out(ids: np.ndarray, spans: list[tuple[int, int]], sentinels: list[int]) -> tuple[list[int], list[int]]:
    """A text with sentinels in the place of spans, and the spans, each after its sentinel; without end tokens.

    Args:
        ids: Tokens of the text.
        spans: (start, stop) of each span, in order, not overlapping.
        sentinels: A sentinel for each span.
    """
    kept: list[int] = []
    target: list[int] = []
    end = 0
    for (start, stop), sentinel in zip(spans, sentinels, strict=True):
        kept += [*ids[end:start].tolist(), sentinel]
        target += [sentinel, *ids[start:stop].tolist()]
        end = stop
    return [*kept, *ids[end:].tolist()], target
