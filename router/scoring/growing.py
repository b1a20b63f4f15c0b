"""Weights that change along a text: a token is predicted by the weights that the text before it has.

The text is read again for its language at growing lengths (`reading_points`), so the weights of a token never depend on
that token or on later ones, and the probabilities of all possible next tokens sum to 1.
Shape letters: `B` texts, `K` experts, `S` stretches of one text between two readings, `T` tokens of one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clustering.errors import BadInput
from router.mixture.experts import MixedExperts
from router.scoring.texts import mix_token_log_probs
from router.scoring.tokens import ScoringOptions, token_log_probs

# Each length is a half or a third longer than the one before: at most two readings for each doubling of the text.
_SHORTEST = (1, 2, 3, 4, 6)


def reading_points(num_tokens: int) -> list[int]:
    """The numbers of tokens after which a text is read again for its language: 1, 2, 3, 4, 6, 8, 12, 16, 24, …

    Args:
        num_tokens: The longest that may be read. The start token counts, so that the first reading, of it alone, finds
            no letters: the weights are then those of a text without any.

    Returns:
        Ascending numbers of at least 1 and at most `num_tokens`.
    """
    points = [*_SHORTEST]
    while points[-1] < num_tokens:
        points.append(2 * points[-2])
    return [point for point in points if point <= num_tokens]


@dataclass(frozen=True)
class GrowingWeights:
    """The weights of one text's predictions, stretch by stretch.

    Attributes:
        starts: Index of the first prediction of each of the S stretches, ascending, the first 0. Prediction i is of
            token i + 1, from the i + 1 tokens before it.
        weights: Weights of the experts in each stretch, shape (S, K), rows summing to 1.
    """

    starts: tuple[int, ...]
    weights: np.ndarray

    @classmethod
    def constant(cls, weights_K: np.ndarray) -> GrowingWeights:
        """The same weights for every prediction."""
        return cls((0,), np.asarray(weights_K, dtype=np.float64)[None])

    def stretches(self, num_predictions: int) -> list[tuple[int, int, np.ndarray]]:
        """First prediction, one past the last, and weights of each stretch that has predictions."""
        edges = [*(min(start, num_predictions) for start in self.starts), num_predictions]
        return [
            (first, stop, weights_K)
            for (first, stop), weights_K in zip(pairwise(edges), self.weights, strict=True)
            if stop > first
        ]

    def at_each(self, num_predictions: int) -> np.ndarray:
        """The weights of every prediction, shape (num_predictions, K)."""
        row_of = np.searchsorted(self.starts, np.arange(num_predictions), side="right") - 1
        return np.asarray(self.weights[row_of])

    def needed(self, num_predictions: int) -> np.ndarray:
        """How many predictions of each expert count, from the beginning, shape (K,): up to its last weight."""
        needed_K = np.zeros(self.weights.shape[1], dtype=np.int64)
        for _, stop, weights_K in self.stretches(num_predictions):
            needed_K[weights_K > 0] = stop
        return needed_K


def score_growing(
    sequences: Sequence[Sequence[int]],
    growing: Sequence[GrowingWeights],
    experts: MixedExperts,
    options: ScoringOptions | None = None,
) -> list[np.ndarray]:
    """Log-probabilities of all tokens but the first of each sequence, under weights that change along it.

    An expert reads a text from its beginning to the last token that it has weight for, and no further: one that only
    the first few letters called for costs a few tokens.

    Args:
        sequences: Token ids of B texts; the first token of each is context only.
        growing: The weights of each text.
        experts: The K experts. If their weights follow the text too, they do so from its beginning.
        options: See `ScoringOptions`.

    Returns:
        For each sequence the log-probabilities in nats, shape (T - 1,), float64.

    Raises:
        BadInput: If the weights do not fit the sequences or the experts.
    """
    num_experts = len(experts.names)
    if len(growing) != len(sequences) or any(g.weights.shape[1] != num_experts for g in growing):
        raise BadInput(f"weights of {len(growing)} texts do not fit {len(sequences)} texts and {num_experts} experts.")
    num_B = [max(0, len(sequence) - 1) for sequence in sequences]
    needed_BK = np.array([g.needed(num) for g, num in zip(growing, num_B, strict=True)]).reshape(-1, num_experts)
    found: list[dict[int, np.ndarray]] = [{} for _ in sequences]
    for column, name in enumerate(experts.names):
        rows: list[int] = np.flatnonzero(needed_BK[:, column]).tolist()
        if rows:
            stops = [int(needed_BK[row, column]) + 1 for row in rows]
            log_probs = token_log_probs(
                experts.models.get(name), [sequences[row] for row in rows], options, stops=stops
            )
            for row, log_probs_T in zip(rows, log_probs, strict=True):
                found[row][column] = log_probs_T
    return [mix_growing(g, parts, num, experts.dynamic) for g, parts, num in zip(growing, found, num_B, strict=True)]


def mix_growing(
    growing: GrowingWeights, parts: dict[int, np.ndarray], num_predictions: int, dynamic: float
) -> np.ndarray:
    """Log-probabilities of one text's tokens under weights that change along it.

    Args:
        growing: The weights.
        parts: Index of an expert -> its log-probabilities from the beginning of the text, in nats; as many as
            `growing.needed`, or more.
        num_predictions: Number of tokens predicted.
        dynamic: How far the weights also follow the experts' own predictions, from the beginning of the text.

    Returns:
        Shape (num_predictions,), in nats, float64.
    """
    mixed_T = np.zeros(num_predictions)
    for first, stop, weights_K in growing.stretches(num_predictions):
        # Weights that follow the experts' predictions begin with the text, not with the stretch.
        start = 0 if dynamic else first
        members = [(float(weights_K[k]), parts[k][start:stop]) for k in parts if weights_K[k] > 0]
        mixed_T[first:stop] = mix_token_log_probs(members, dynamic)[first - start :]
    return mixed_T
