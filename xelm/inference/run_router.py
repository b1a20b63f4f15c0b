"""The routing of a run: from texts to their languages and to the experts that answer them. No model is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from clustering.errors import BadInput, arg
from clustering.languages.codes import match
from router.identify.open import OpenIdentifier
from router.identify.protocol import OpenlyIdentifies
from router.identify.spans import Span, segment
from router.identify.stored import load_identifier
from router.routes.centres import load_centres, reweigh
from router.routes.learned import LearnedWeights
from router.routes.policy import Policy, apply_policy
from router.routes.relatives import Relatives, RelativesIdentifier
from router.routes.route import route_openly, route_texts, weights_of
from router.routes.weigh import ExpertWeigher, Route, RoutingRule
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.vocabulary.of_run import Vocabularies

LANGUAGES = ("open", "run")
"""The languages that may be identified: any language known to the identifier, or only those of the run."""


class RunRouter:
    """Routes texts over the experts of a run and its base."""

    def __init__(
        self,
        experts: ExpertSet,
        *,
        rule: RoutingRule | None = None,
        languages: str = "open",
        identifier: OpenlyIdentifies | None = None,
        relatives: Relatives | None = None,
    ):
        """Read the router of a run.

        Args:
            experts: The run.
            rule: Temperatures, threshold and fallback.
            languages: `open`: a text may be in any language; `run`: every text counts as one of the run's languages.
            identifier: Instead of the run's own.
            relatives: Instead of what the run knows of languages that are hard to distinguish.

        Raises:
            BadInput: If `languages` is neither, or the router cannot be read.
        """
        if languages not in LANGUAGES:
            raise BadInput(f"{arg('languages', languages)}: choose {' or '.join(LANGUAGES)}.")
        self.names = [*experts.names, BASE]
        self.vocabularies = Vocabularies(experts, self.names)
        self.relatives = Relatives.load(experts.files.router) if relatives is None else relatives
        plain = load_identifier(experts.files.router) if identifier is None else identifier
        self.identifier: OpenlyIdentifies = RelativesIdentifier(plain, self.relatives) if self.relatives else plain
        self._experts, self._rule = experts, rule
        self._centres = load_centres(experts.files.router)
        self._learned = LearnedWeights.load(experts.files.router)
        if self._learned is not None and set(self._learned.experts) != set(self.names):
            raise BadInput(
                f"{experts.files.router}: its weights are learned for {', '.join(self._learned.experts)}, but the run "
                f"has {', '.join(self.names)}. Restore the router from a copy of the run."
            )
        self._weigher = _weigher(experts, self.names, self.identifier.languages, rule, self.relatives)
        self._open_identifier = OpenIdentifier(self.identifier) if languages == "open" else None
        self.learn({})

    def learn(self, probed: Mapping[str, Mapping[str, float]]) -> None:
        """Take in losses of languages that no expert was trained on.

        Args:
            probed: Model -> language -> bits per byte.
        """
        experts, names, opened, rule = self._experts, self.names, self._open_identifier, self._rule
        relatives = self.relatives
        losses = {name: dict(by_language) for name, by_language in probed.items()}
        # The weigher of all languages is made when a text first needs it: reading the typology takes a while.
        self._open_weigher: Callable[[], ExpertWeigher] = cache(
            lambda: _weigher(experts, names, opened.languages if opened else (), rule, relatives, losses)
        )

    def routes(self, texts: Sequence[str]) -> list[Route]:
        """Where each text goes, and why."""
        if self._open_identifier is None:
            routes = route_texts(texts, self.identifier, self._weigher)
        else:
            routes = route_openly(texts, self._open_identifier, self._weigher, self._open_weigher)
        if self._learned is not None:
            return self._learned.reweigh(routes, texts, self._weigher.rule.fallback)
        if self._centres is None:
            return routes
        return reweigh(routes, texts, self._centres, self._experts.plan.clusters, self._weigher.rule.fallback)

    def cut(self, text: str) -> list[Span]:
        """The parts of a text, cut where its language changes."""
        return segment(text, self._open_identifier or self.identifier)

    def span_routes(self, texts: Sequence[str], cuts: Sequence[Sequence[Span]]) -> list[list[Route]]:
        """Routes of all parts of all texts, identified in one pass."""
        parts = [text[span.start : span.stop] for text, spans in zip(texts, cuts, strict=True) for span in spans]
        routes = iter(self.routes(parts))
        return [[next(routes) for _ in spans] for spans in cuts]

    def weights(self, routes: Sequence[Route], policy: Policy) -> np.ndarray:
        """Weights of `names` that answer under a policy, shape (routes, names), rows summing to 1."""
        weights_BK, abstained_B = weights_of(routes, self.names)
        kept_BK = apply_policy(weights_BK, policy, self.names, abstained_B=abstained_B)
        return self.vocabularies.settle(kept_BK, policy)

    def foreign(self, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The texts in languages that no expert was trained on, each after its language."""
        for route, text in zip(self.routes(texts), texts, strict=True):
            if len(route.languages) == 1 and match(route.languages[0], self._experts.languages) is None:
                yield route.languages[0], text


def _weigher(
    experts: ExpertSet,
    names: Sequence[str],
    languages: Sequence[str],
    rule: RoutingRule | None,
    relatives: Relatives,
    probed: dict[str, dict[str, float]] | None = None,
) -> ExpertWeigher:
    measured = experts.result("valid")
    losses = None
    if measured and set(names) <= set(measured.models):
        losses = {name: measured.bits(name) for name in names}
    return ExpertWeigher(
        experts.plan.clusters,
        languages,
        names,
        losses=losses,
        rule=rule,
        base=BASE,
        probed=probed,
        relatives=relatives,
    )
