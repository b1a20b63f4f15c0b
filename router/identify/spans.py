"""Text in several languages, cut where the language changes.

Each word (each few characters, in scripts without spaces) is identified by itself; the cheapest sequence of languages
under a cost for every change is the segmentation (Viterbi). Shape letters: `U` units, `L` languages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clustering.errors import BadInput
from router.cleaning.clean import clean_letters
from router.identify.protocol import LanguageIdentifier

# Cost of a change of language in nats, chosen on parts of SIB-200's train sentences joined in twos and threes
# (experiments/routing/fit_constants.py). Windows of neighbouring words blur the edges and did worse.
SWITCH_COST = 6.0
_LONGEST_UNIT = 12
_UNITS = re.compile(r"\s*\S+\s*|\s+", re.DOTALL)


@dataclass(frozen=True)
class Span:
    """A part of a text in one language.

    Attributes:
        start: Index of the first character.
        stop: Index one past the last character.
        language: ISO 639-3, None if the whole text has no letters.
        confidence: Probability of the language for the span's text alone.
    """

    start: int
    stop: int
    language: str | None
    confidence: float


def segment(text: str, identifier: LanguageIdentifier, *, switch_cost: float = SWITCH_COST) -> list[Span]:
    """Cut a text into spans of one language each.

    Args:
        text: Any text.
        identifier: Identifies the languages.
        switch_cost: Nats that a change of language must gain, > 0. Larger: fewer spans.

    Returns:
        Spans in order that cover the text exactly, neighbours in different languages; none for an empty text. Words
        without letters stay with the span before them.

    Example:
        >>> [span.language for span in segment("Guten Morgen allerseits. Habari za asubuhi rafiki.", identifier)]
        ['deu', 'swh']
    """
    if switch_cost <= 0:
        raise BadInput(f"switch_cost={switch_cost} must be greater than 0.")
    bounds = _unit_bounds(text)
    if not bounds:
        return []
    if not clean_letters(text):
        return [Span(0, len(text), None, 0.0)]
    units = [text[start:stop] for start, stop in bounds]
    log_posterior_UL = np.log(identifier.posterior(units).clip(1e-12))
    log_posterior_UL[[not clean_letters(unit) for unit in units]] = 0.0
    path = _cheapest_path(log_posterior_UL, switch_cost)
    edges = [0, *(i for i in range(1, len(path)) if path[i] != path[i - 1]), len(path)]
    pieces = [(bounds[first][0], bounds[stop - 1][1], path[first]) for first, stop in pairwise(edges)]
    posterior_SL = identifier.posterior([text[start:stop] for start, stop, _ in pieces])
    return [
        Span(start, stop, identifier.languages[language], float(posterior_L[language]))
        for (start, stop, language), posterior_L in zip(pieces, posterior_SL, strict=True)
    ]


def _unit_bounds(text: str) -> list[tuple[int, int]]:
    """Words with the space after them; long ones, as in scripts without spaces, in parts."""
    bounds = []
    for found in _UNITS.finditer(text):
        for start in range(found.start(), found.end(), _LONGEST_UNIT):
            bounds.append((start, min(start + _LONGEST_UNIT, found.end())))
    return bounds


def _cheapest_path(log_posterior_UL: np.ndarray, switch_cost: float) -> Sequence[int]:
    """Viterbi: the languages of the units, which change only if that gains more than the cost."""
    num_units, num_languages = log_posterior_UL.shape
    best_L = log_posterior_UL[0].copy()
    came_from_UL = np.zeros((num_units, num_languages), dtype=np.int64)
    for unit in range(1, num_units):
        top = int(best_L.argmax())
        switching = best_L[top] - switch_cost
        stays_L = best_L >= switching
        came_from_UL[unit] = np.where(stays_L, np.arange(num_languages), top)
        best_L = np.where(stays_L, best_L, switching) + log_posterior_UL[unit]
    path = [int(best_L.argmax())]
    for unit in range(num_units - 1, 0, -1):
        path.append(int(came_from_UL[unit, path[-1]]))
    return path[::-1]
