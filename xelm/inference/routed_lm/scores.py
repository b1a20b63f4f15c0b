"""How probable texts, tokens and bytes are to the experts of an open run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from router.mixture.experts import MixedExperts
from router.scoring.growing import GrowingWeights
from router.scoring.texts import Score
from router.scoring.tokens import ScoringOptions
from router.texts import as_texts
from xelm.inference.growing import check_routing, prefixes_of
from xelm.inference.pseudo import pseudo_scores
from xelm.inference.routed_lm.able import check_follows_text
from xelm.inference.routed_lm.routes import RoutesTexts
from xelm.inference.scoring import Scorer
from xelm.vocabulary.byte_mixture import ByteMixture


class ScoresTexts(RoutesTexts):
    """An open run that scores texts by the experts that they are routed to."""

    def score(
        self,
        texts: Iterable[str],
        policy: str = "ensemble",
        *,
        prefix: str | Iterable[str] | None = None,
        routing: str = "prefix",
        m: int | None = None,
        spans: bool = False,
        options: ScoringOptions | None = None,
    ) -> list[Score]:
        """Score how probable texts are: nats, tokens, bytes, bits per byte. An empty text has 0 nats.

        By default these are causal probabilities: the experts that predict a token are chosen by the text before it,
        so that the probabilities of all texts of one length sum to 1. Experts that fill gaps (`masked`, `denoise`) give
        a pseudo-loss instead, by the weights of the whole text: every token predicted from what stands around it.

        Args:
            texts: Texts of any length; those longer than the context are scored in overlapping windows.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            prefix: A text that stands before each text, or one for each: a prompt, of which the texts are answers. Only
                the texts are scored, given the prefix, by the weights of the whole prefix, as `generate` draws them.
            routing: `prefix`: weights follow the text before each token (the prefix, if there is one); `text`: each
                text is scored by the weights of the whole of it, for use when its language is known beforehand; the
                result is then no probability of the text, since the text has chosen its experts.
            m: For `topm`: how many experts are kept.
            spans: Cut each text where its language changes; each part is scored by its own experts, with all the
                text before it as context. Cuts and experts come from the whole text, as with `routing="text"`.
            options: Context, stride and batch size.

        Raises:
            BadInput: If the policy or the routing is unknown, `texts` is no list of strings, or there is not one
                prefix for each text.
        """
        texts, _ = as_texts(texts), self.policy(policy, m)
        check_routing(routing, prefix, spans)
        if not texts:
            return []
        if not self.experts.objective.follows_text:
            return self._pseudo_scores(texts, policy, m, plain=prefix is None and not spans and options is None)
        scorer = self.scorer(policy, m=m, options=options)
        if prefix is not None:
            return scorer.answers(texts, prefixes_of(prefix, len(texts)))
        if spans:
            return scorer.parts(texts)
        return scorer.wholes(texts) if routing == "text" else scorer.causal(texts)

    def _pseudo_scores(self, texts: list[str], policy: str, m: int | None, *, plain: bool) -> list[Score]:
        if not plain:
            check_follows_text(self.experts, "a score with prefix, spans or options")
        weights_BK, parsed = self.weights(texts, policy, m=m), self.policy(policy, m)
        mixed = MixedExperts(self.names, self._models, parsed.dynamic)
        return pseudo_scores(self.experts, texts, weights_BK, self.vocabularies, mixed)

    def growing_weights(
        self,
        sequences: Sequence[Sequence[int]],
        policy: str = "ensemble",
        *,
        m: int | None = None,
        num_prompt: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> list[GrowingWeights]:
        """Weights for the token after each token, from the text up to there.

        Args:
            sequences: Token ids of texts, with the start token.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.
            num_prompt: For each text, how many of its tokens are a prompt, whose weights hold from its end on.
            names: Experts that read the same pieces, those of the sequences: weights of these alone. None: of all, and
                the sequences are of the run's tokenizer.

        Raises:
            BadInput: If the policy is unknown, or a text goes to an expert that is not among `names`.
        """
        scorer = self.scorer(str(self.policy(policy, m)))
        if names is None or not self.vocabularies.differ:
            return scorer.weights_along(sequences, num_prompt)
        own = dataclasses.replace(scorer, tokenizer=self.vocabularies.tokenizer(names[0]))
        return self.vocabularies.among(own.weights_along(sequences, num_prompt), names)

    def scorer(
        self, policy: str = "ensemble", *, m: int | None = None, options: ScoringOptions | None = None
    ) -> Scorer:
        """What scores texts under a policy.

        Raises:
            BadInput: If the policy is unknown.
        """
        check_follows_text(self.experts, "a score along the text")
        context = self.context if self.vocabularies.differ else 0
        return Scorer(self._router, self.tokenizer, self._models, self.policy(policy, m), options, context)

    def next_bytes(self, texts: Iterable[str], policy: str = "ensemble", *, m: int | None = None) -> np.ndarray:
        """Probabilities of the byte after each text: 256 bytes, then the text's end, shape (texts, 257), rows summing
        to 1. Experts that read different pieces are mixed exactly, since all of them read bytes.

        Args:
            texts: Texts, each within one context of the experts.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.

        Raises:
            BadInput: If the policy is unknown, an expert's tokenizer has no bytes, or a text is too long.
        """
        texts, parsed = as_texts(texts), self.policy(policy, m)
        check_follows_text(self.experts, "next_bytes")
        weights_BK = self._router.weights(self.route(texts), parsed)
        mixture = ByteMixture(self.vocabularies, self._models, self.context)
        rows = [mixture.next_bytes(t, w, dynamic=parsed.dynamic) for t, w in zip(texts, weights_BK, strict=True)]
        return np.array(rows).reshape(len(texts), -1)
