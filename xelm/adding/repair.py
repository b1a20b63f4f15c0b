"""The prior of a newcomer: as much as leaves the older languages the loss of their text.

Text that may be an older language's, most of all its first letters, is read by the expert of whichever language is
likelier. A newcomer's prior makes it wait until a text is clearly its own. It is the largest, tried in steps, at which
no older language's held-out text is expected to need `MOST_COST` percent more bits than before the addition.
Shape letters: `D` documents of a language.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from clustering.languages.codes import match
from router.identify.protocol import OpenlyIdentifies
from router.identify.stored import load_identifier
from router.routes.relatives import Relatives
from xelm.adding.text import MOST_COST
from xelm.evaluation.log_probs import heldout_log_probs
from xelm.evaluation.routed import along_of, by_whole_text, mixed_log_probs
from xelm.inference.routed import RoutedLM
from xelm.inference.run_router import RunRouter
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE
from xelm.vocabulary.of_run import Vocabularies

logger = logging.getLogger(__name__)

PRIORS = (0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0, -8.0)
"""Nats, in the order in which they are tried."""
SURELY = 1.64
"""Standard errors over documents by which the rise must stay below `MOST_COST`: right in 95 % of cases."""
MOST_DOCUMENTS = 48
MOST_LANGUAGES = 8
"""Of valid text: documents of one language, and languages, those that are likeliest to be taken for the newcomer."""
_FIRST_LETTERS = 20
POLICY = "top1"


class ReadOnce:
    """An identifier that reads each text once, however often it is asked."""

    def __init__(self, identifier: OpenlyIdentifies):
        self._identifier = identifier
        self._known: dict[str, tuple[np.ndarray, ...]] = {}

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes."""
        return self._identifier.languages

    @property
    def other_languages(self) -> Sequence[str]:
        """The codes outside the run that it can identify."""
        return self._identifier.other_languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages."""
        return self.identify_openly(texts)[0]

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Posterior and familiarity."""
        return self.identify_openly(texts)[:2]

    def identify_openly(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `OpenlyIdentifies`."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= dict(zip(new, zip(*self._identifier.identify_openly(new), strict=True), strict=True))
        own, familiarity, others = zip(*(self._known[text] for text in texts), strict=True)
        return np.array(own), np.array(familiarity), np.array(others)


def fit_prior(before: ExpertSet, grown: ExpertSet, newcomer: str, relatives: Relatives) -> float:
    """The largest of `PRIORS` that leaves older languages their loss; if none does, the one that costs them least.

    Args:
        before: The run before the addition; the log-probabilities of both runs' valid text are in its cache.
        grown: The run with the newcomer.
        newcomer: Its code.
        relatives: What the grown run knows of relatives, to which the prior comes.
    """
    if Vocabularies(grown, [*grown.names, BASE]).differ:
        logger.info(
            "no prior is fitted for %s: experts of different pieces would have to read valid text anew each time.",
            newcomer,
        )
        return 0.0
    identifier = ReadOnce(load_identifier(grown.files.router))
    joined = [code for code in grown.languages if grown.plan.cluster_of(code) == grown.plan.cluster_of(newcomer)]
    languages = _likeliest(before, identifier, newcomer, leave_out=joined)
    documents = [(row, one) for row, one in enumerate(before.heldout("valid")) if one.language in languages]
    chosen = [pair for code in languages for pair in [p for p in documents if p[1].language == code][:MOST_DOCUMENTS]]
    if not chosen:
        return 0.0
    rows_before, texts = [row for row, _ in chosen], [one for _, one in chosen]
    nats_before = _nats(before, RunRouter(before), texts, _kept(before, rows_before))
    place = {(one.language, one.text): row for row, one in enumerate(grown.heldout("valid"))}
    log_probs = _kept(grown, [place[one.language, one.text] for one in texts])
    rises = []
    for prior in PRIORS:
        router = RunRouter(grown, identifier=identifier, relatives=relatives.with_prior(newcomer, prior))
        nats = _nats(grown, router, texts, log_probs)
        rises.append(max(_rise(texts, nats_before, nats, code) for code in languages))
        logger.info("prior %+.1f: older languages cost at most %+.2f %% more, surely", prior, rises[-1])
        if rises[-1] <= MOST_COST:
            return prior
    return PRIORS[int(np.argmin(rises))]


def _likeliest(before: ExpertSet, identifier: OpenlyIdentifies, newcomer: str, leave_out: Sequence[str]) -> list[str]:
    """The older languages whose first letters are likeliest to be taken for the newcomer."""
    column = list(identifier.languages).index(match(newcomer, identifier.languages) or newcomer)
    share = {}
    for code in before.languages:
        texts = [one.text[:_FIRST_LETTERS] for one in before.heldout("valid", [code])[:MOST_DOCUMENTS]]
        if texts and code not in leave_out:
            share[code] = float(identifier.posterior(texts)[:, column].mean())
    return sorted(share, key=lambda code: (-share[code], code))[:MOST_LANGUAGES]


LogProbs = dict[str, list[np.ndarray]]
"""Model -> log-probabilities of each document."""


def _kept(experts: ExpertSet, rows: Sequence[int]) -> LogProbs:
    """What each model said of some documents of valid text."""
    kept = {name: heldout_log_probs(experts, name, "valid") for name in [*experts.names, BASE]}
    return {name: [values[row] for row in rows] for name, values in kept.items()}


def _nats(experts: ExpertSet, router: RunRouter, documents: Sequence[Document], log_probs: LogProbs) -> np.ndarray:
    """Routed loss of each document, shape (D,)."""
    lm = RoutedLM(experts, router=router)
    texts = [one.text for one in documents]
    weights = along_of(lm, documents, POLICY) if experts.objective.follows_text else by_whole_text(lm, texts, POLICY)
    mixed = mixed_log_probs(lm, POLICY, weights, log_probs, texts)
    return -np.array([float(values.sum(dtype=np.float64)) for values in mixed])


def _rise(documents: Sequence[Document], before_D: np.ndarray, after_D: np.ndarray, code: str) -> float:
    """The rise of a language's loss in percent that is surely not exceeded."""
    own = np.array([one.language == code for one in documents])
    more_D, total = (after_D - before_D)[own], before_D[own].sum()
    if total <= 0:
        return 0.0
    error = float(more_D.std(ddof=1)) * np.sqrt(len(more_D)) if len(more_D) > 1 else 0.0
    return float(100 * (more_D.sum() + SURELY * error) / total)
