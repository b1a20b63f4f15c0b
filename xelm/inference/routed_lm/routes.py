"""The routes of texts over an open run, and the weights of its experts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from clustering.errors import BadInput, arg
from router.mixture.experts import MixedExperts
from router.routes.policy import Policy, parse_policy
from router.routes.weigh import Route
from router.texts import as_texts
from xelm.inference.routed_lm.able import check_follows_text
from xelm.inference.routed_lm.opened import OpenRun

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RoutedSpan:
    """A part of a text in one language, with its route.

    Attributes:
        start: Index of the first character.
        stop: Index one past the last character.
        route: The route of `text[start:stop]`.
    """

    start: int
    stop: int
    route: Route


class RoutesTexts(OpenRun):
    """An open run that knows where each text goes."""

    @overload
    def route(self, texts: Iterable[str], *, spans: Literal[False] = False) -> list[Route]: ...
    @overload
    def route(self, texts: Iterable[str], *, spans: Literal[True]) -> list[list[RoutedSpan]]: ...
    def route(self, texts: Iterable[str], *, spans: bool = False) -> list[Route] | list[list[RoutedSpan]]:
        """Find where each text goes: its language, the confidence, weights over experts, and a sentence that says why.

        Args:
            texts: Any texts.
            spans: Cut each text where its language changes, and route the parts.

        Returns:
            A `Route` for each text; with `spans` a list of `RoutedSpan` that cover the text (none if it is empty).

        Raises:
            BadInput: If `texts` is no list of strings.
        """
        texts = as_texts(texts)
        self.refresh()
        if not spans:
            return self._router.routes(texts)
        cuts = [self._router.cut(text) for text in texts]
        return [
            [RoutedSpan(span.start, span.stop, route) for span, route in zip(its_cuts, its_routes, strict=True)]
            for its_cuts, its_routes in zip(cuts, self._router.span_routes(texts, cuts), strict=True)
        ]

    def probe(self, texts: Iterable[str]) -> dict[str, dict[str, float]]:
        """Ask the models which of them reads languages best that no expert was trained on.

        The base answers in such languages until the models' own losses on the first tokens of texts in them say
        otherwise. What was read is kept with this object, language by language, and decides its later routes.

        Args:
            texts: Texts; those in languages of the run, or without letters, are not read.

        Returns:
            Model -> language -> bits per byte of all that was probed so far.

        Raises:
            BadInput: If `texts` is no list of strings, or the models neither generate nor score.
        """
        texts = as_texts(texts)
        self.refresh()
        check_follows_text(self.experts, "probe")
        if foreign := list(self._router.foreign(texts)):
            codes, chosen = zip(*foreign, strict=True)
            self._probes.add(codes, chosen, self.tokenizer, MixedExperts(self.names, self._models))
            self._router.learn(self._probes.losses())
        return self._probes.losses()

    def weights(self, texts: Iterable[str], policy: str = "top1", *, m: int | None = None) -> np.ndarray:
        """Weights of `names` that answer under a policy, shape (texts, names), rows summing to 1.

        Raises:
            BadInput: If the policy is unknown.
        """
        return self._router.weights(self.route(texts), self.policy(policy, m))

    def policy(self, policy: str, m: int | None = None) -> Policy:
        """The policy of a name, which may also be an expert's.

        Raises:
            BadInput: If the name is unknown, or `m` is given for a policy other than `topm`.
        """
        self.refresh()
        if not isinstance(policy, str):
            raise BadInput(f"{arg('policy', policy)}: a name is expected, such as top1.")
        parsed = parse_policy(policy, self.names, m=m)
        if m is not None and parsed.option != "m":
            raise BadInput(f"{arg('m', m)} is for the policy topm, not {policy}.")
        return parsed

    def experts_for(self, route: Route, policy: str = "top1", *, m: int | None = None) -> tuple[str, ...]:
        """The experts that answer a routed text under a policy.

        Raises:
            BadInput: If the policy is unknown.
        """
        weights_K = self._router.weights([route], self.policy(policy, m))[0]
        return tuple(name for name, weight in zip(self.names, weights_K, strict=True) if weight > 0)

    def tokenizer_for(self, route: Route, policy: str = "top1", *, m: int | None = None) -> PreTrainedTokenizerBase:
        """The tokenizer with which a routed text is read under a policy.

        Raises:
            BadInput: If the policy is unknown, or mixes experts that read different pieces.
        """
        parsed = self.policy(policy, m)
        weights_BK = self._router.weights([route], parsed)

        def itself(rows: list[int], tokenizer: PreTrainedTokenizerBase) -> list[PreTrainedTokenizerBase]:
            return [tokenizer] * len(rows)

        return self.vocabularies.by_tokenizer(weights_BK, itself, parsed)[0]
