"""From texts to routes by an identifier and a weigher, and from routes to the arrays that policies need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from clustering.errors import BadInput
from router.cleaning.clean import clean_letters
from router.cleaning.doubt import certainty
from router.identify.open import OpenIdentifier
from router.identify.protocol import LanguageIdentifier, OpenSetIdentifier
from router.routes.weigh import ExpertWeigher, Route
from router.texts import as_texts

# How much likelier than the best of the run's languages another must be. A text of the run's sent away loses more than
# a foreign one kept; at 4 at most 0.5 % of SIB-200's train sentences cut to 20 characters are sent away, and 0.1 % of
# whole ones (experiments/routing/fit_constants.py).
FOREIGN_ODDS = 4.0
LETTERS_OF_A_FOREIGN_TEXT = 16


def route_texts(texts: Iterable[str], identifier: LanguageIdentifier, weigher: ExpertWeigher) -> list[Route]:
    """Identify each text's language and weigh the experts.

    Texts may be anything that a Python string can hold. Without letters (empty, digits, emoji) a text has no language
    and confidence 0, and all experts are weighted by the uniform posterior; lone surrogates are ignored.

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
    texts = as_texts(texts)
    if not texts:
        return []
    familiarity_B: np.ndarray | None = None
    if isinstance(identifier, OpenSetIdentifier):
        posterior_BL, familiarity_B = identifier.identify(texts)
    else:
        posterior_BL = identifier.posterior(texts)
    silent_B = np.array([not clean_letters(text) for text in texts])
    certainty_B = np.array([certainty(text) for text in texts])
    return weigher.route(posterior_BL, familiarity_B=familiarity_B, silent_B=silent_B, certainty_B=certainty_B)


def route_openly(
    texts: Iterable[str],
    identifier: OpenIdentifier,
    weigher: ExpertWeigher,
    open_weigher: Callable[[], ExpertWeigher],
) -> list[Route]:
    """Do as `route_texts`, but route a text by typology if it is far likelier in a language outside the run.

    Any other text is routed exactly as `route_texts` does with the run's identifier, so that the languages of the world
    take nothing from the run's.

    Args:
        texts: B texts.
        identifier: Identifier of the run's languages and others.
        weigher: Weigher for the run's languages.
        open_weigher: Returns a weigher for all languages of `identifier`; called when the first such text comes.

    Returns:
        One `Route` for each text, in order.
    """
    texts = as_texts(texts)
    if not texts:
        return []
    posterior_BR, familiarity_B, others_BO = identifier.identify(texts)
    silent_B = np.array([not clean_letters(text) for text in texts])
    certainty_B = np.array([certainty(text) for text in texts])
    routes = weigher.route(posterior_BR, familiarity_B=familiarity_B, silent_B=silent_B, certainty_B=certainty_B)
    joint_BL = identifier.joint(posterior_BR, familiarity_B, others_BO)
    own_BR, foreign_BO = np.split(joint_BL, [posterior_BR.shape[1]], axis=1)
    foreign_B = (foreign_BO.max(axis=1, initial=0.0) > FOREIGN_ODDS * own_BR.max(axis=1)) & ~silent_B
    if foreign_B.any():
        # A few letters are little evidence for a language of which no text was read.
        short_B = np.array([min(1.0, len(clean_letters(text)) / LETTERS_OF_A_FOREIGN_TEXT) for text in texts])
        found = open_weigher().route(joint_BL[foreign_B], certainty_B=(certainty_B * short_B)[foreign_B])
        for row, route in zip(np.flatnonzero(foreign_B), found, strict=True):
            routes[row] = route
    return routes


def weights_of(routes: Sequence[Route], experts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Routes as arrays for `apply_policy`.

    Returns:
        Weights, shape (B, K), in the order of `experts`; which texts were abstained on, shape (B,), bool.
    """
    weights_BK = np.array([[route.weights.get(name, 0.0) for name in experts] for route in routes])
    return weights_BK.reshape(len(routes), len(experts)), np.array([route.abstained for route in routes], dtype=bool)
