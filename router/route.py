"""Text in, routes out: an identifier and a weigher together, and routes as the arrays that policies take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.errors import BadInput
from router.combined_identifier import CombinedIdentifier
from router.identify import LanguageIdentifier, OpenSetIdentifier
from router.text import plain_letters
from router.weights import ExpertWeigher, Route


def route_texts(texts: Sequence[str], identifier: LanguageIdentifier, weigher: ExpertWeigher) -> list[Route]:
    """Identify each text's language and weigh the experts.

    Texts may be anything that a Python string can hold. Without letters (empty, digits, emoji) a text has no language
    and confidence 0, and all experts are weighted by the uniform posterior; lone surrogates are passed over.

    Args:
        texts: B texts.
        identifier: Its languages are the weigher's.
        weigher: See `ExpertWeigher`.

    Returns:
        One `Route` for each text, in order.

    Raises:
        BadInput: If identifier and weigher do not answer for the same languages.
    """
    if tuple(identifier.languages) != weigher.languages:
        raise BadInput(
            f"The identifier answers for {', '.join(identifier.languages)}, the weigher for "
            f"{', '.join(weigher.languages)}. Build the weigher with the identifier's languages."
        )
    if not texts:
        return []
    familiarity_B: np.ndarray | None = None
    if isinstance(identifier, CombinedIdentifier):
        posterior_BL, familiarity_B = identifier.identify(texts)
    else:
        posterior_BL = identifier.posterior(texts)
        if isinstance(identifier, OpenSetIdentifier):
            familiarity_B = identifier.familiarity(texts)
    silent_B = np.array([not plain_letters(text) for text in texts])
    return weigher.route(posterior_BL, familiarity_B=familiarity_B, silent_B=silent_B)


def weights_of(routes: Sequence[Route], experts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Routes as arrays for `apply_policy`.

    Returns:
        Weights, shape (B, K), in the order of `experts`; which texts were abstained on, shape (B,), bool.
    """
    weights_BK = np.array([[route.weights.get(name, 0.0) for name in experts] for route in routes])
    return weights_BK.reshape(len(routes), len(experts)), np.array([route.abstained for route in routes], dtype=bool)
