"""Weights of the experts along a text, each from the text before it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from clustering.errors import BadInput, arg
from router.scoring.growing import GrowingWeights, reading_points
from router.texts import as_texts

ROUTINGS = ("prefix", "text")
"""What chooses the experts of a token: the text before it, or the whole text."""

# A byte-level token may end inside a character, which decodes to this sign until the rest has come.
_UNFINISHED = "\ufffd"


def growing_weights(
    sequences: Sequence[Sequence[int]],
    tokenizer: Any,
    weigh: Callable[[list[str]], np.ndarray],
    *,
    num_prompt: Sequence[int] | None = None,
) -> list[GrowingWeights]:
    """Read texts again and again as they grow, and weigh the experts by what has been read.

    Args:
        sequences: Token ids of B texts, with the start token if there is one.
        tokenizer: The tokenizer that all experts share.
        weigh: From texts to the weights that answer, shape (texts, K), rows summing to 1.
        num_prompt: For each text the number of its first tokens that are a prompt: the last reading is of the whole
            prompt, and its weights hold to the end. Not given: texts are read to their end.

    Returns:
        The weights of each text for the token after each of its tokens.
    """
    points = []
    for row, sequence in enumerate(sequences):
        last = len(sequence) if num_prompt is None else min(int(num_prompt[row]), len(sequence))
        points.append(sorted({*reading_points(last), *([last] if num_prompt is not None else [])} - {0}) or [1])
    prefixes = [list(ids[:point]) for ids, its_points in zip(sequences, points, strict=True) for point in its_points]
    decoded = tokenizer.batch_decode(prefixes, skip_special_tokens=True) if prefixes else []
    texts = [text.rstrip(_UNFINISHED) for text in decoded]
    distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    weights_DK = weigh(list(distinct)) if distinct else np.zeros((0, 1))
    weights_RK = weights_DK[[distinct[text] for text in texts]]
    rows = np.split(weights_RK, np.cumsum([len(its_points) for its_points in points])[:-1])
    # The first reading holds from the beginning on: a text without a start token has no earlier prediction.
    return [
        GrowingWeights((0, *(point - 1 for point in its_points[1:])), its_rows)
        for its_points, its_rows in zip(points, rows, strict=True)
    ]


def check_routing(routing: str, prefix: object, spans: bool) -> None:
    """Refuse ways of scoring that contradict one another.

    Raises:
        BadInput: If the routing is unknown, or does not go with a prefix or spans.
    """
    if routing not in ROUTINGS:
        raise BadInput(f"{arg('routing', routing)}: choose {' or '.join(ROUTINGS)}.")
    if prefix is not None and (routing == "text" or spans):
        given = arg("spans", True) if spans else arg("routing", routing)
        raise BadInput(f"{given}: not with a prefix, whose weights hold for the text after it. Leave one of them out.")


def prefixes_of(prefix: str | Iterable[str], num_texts: int) -> list[str]:
    """The prefix of each text.

    Raises:
        BadInput: If there is neither one prefix for all texts nor one for each.
    """
    if isinstance(prefix, str):
        return [prefix] * num_texts
    prefixes = as_texts(prefix, "prefix")
    if len(prefixes) != num_texts:
        raise BadInput(
            f"{len(prefixes)} prefixes for {num_texts} texts: give one for each text, or one string for all."
        )
    return prefixes
