"""From a language posterior to weights over experts, with the reason in a sentence.

p(expert | x) = sum over languages of p(language | x) a(language, expert). A language of the plan belongs to its
expert; any other goes to the base, or, where there is none, to experts by typological distance. Measured losses, of the
run's languages or of any other, decide instead.
Shape letters: `B` texts, `L` languages of the posterior, `K` experts, `E` languages with measured losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import name_of
from router.routes.affinity import Distances, language_affinity, loss_table, owners_of, softmax
from router.routes.relatives import SURE, Relatives
from router.routes.unowned import Unowned

SHARED = "/"
"""What stands between languages that share an answer."""


@dataclass(frozen=True)
class Route:
    """The experts that a text goes to, and why.

    Attributes:
        language: Most likely language, ISO 639-3; several in one answer ("bos/hrv/srp") if the run cannot tell them
            apart and the text does not decide; None if the text has no letters.
        confidence: Probability that `language` is right (one of them, if they share an answer), 0 to 1.
        weights: Expert -> weight, summing to 1; experts with weight 0 are left out.
        reason: One sentence.
        abstained: Whether the confidence was under the threshold, so that `fallback` answers.
    """

    language: str | None
    confidence: float
    weights: dict[str, float]
    reason: str
    abstained: bool = False

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the answer: one, or all that share it; none if the text has no letters."""
        return tuple(self.language.split(SHARED)) if self.language else ()

    def __repr__(self) -> str:
        best = sorted(self.weights.items(), key=lambda item: -item[1])
        weights = ", ".join(f"{name}: {weight:.3f}" for name, weight in best[:4])
        more = f", … {len(best) - 4} more" if len(best) > 4 else ""
        mark = ", abstained" if self.abstained else ""
        return f"Route({self.language}, {self.confidence:.1%}{mark}, {{{weights}{more}}})"

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, kw_only=True)
class RoutingRule:
    """How the posterior becomes weights.

    Attributes:
        distance_temperature: For a language that no expert owns, weights are softmax(-distance / this), > 0: of the
            experts, or where losses were measured, of the languages whose losses it is expected to have. The smaller,
            the more the nearest language counts, whose own expert is not best for this one (experiments/routing).
        loss_temperature: With measured losses, weights are softmax(-expected loss / this), > 0, in the unit of the
            losses (bits per byte). Small: only the best expert.
        threshold: Under this confidence the fallback answers, 0 (never) to 1.
        fallback: "ensemble" (all experts by their weights, whatever the policy) or the name of an expert, such as
            "base".
    """

    distance_temperature: float = 0.1
    loss_temperature: float = 0.02
    threshold: float = 0.0
    fallback: str = "ensemble"

    def __post_init__(self) -> None:
        for name in ("distance_temperature", "loss_temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name}={getattr(self, name)} must be greater than 0.")
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"threshold={self.threshold} is a probability: choose 0 (never abstain) to 1.")


class ExpertWeigher:
    """Weights over experts for languages in a fixed order.

    Args:
        plan: Expert -> the languages it was trained on.
        languages: L codes, the columns of the posterior.
        experts: K names in the order of the weights; the plan's if not given. Names outside the plan ("base",
            "dense") own no language: losses or abstention bring them in.
        distances: Typological distances, for languages outside the plan; without them, all experts are equally near.
        losses: Expert -> language -> measured loss in bits per byte; if given, it decides instead of the plan.
        rule: Temperatures, threshold, fallback.
        base: The expert that answers in a language that no other was trained on, unless its loss was measured. Without
            one, such languages go to experts by typology, or to the least loss expected from near languages.
        probed: As `losses`, of languages that no expert owns, measured on a few texts.
        relatives: Languages that share an answer. The weights of such an answer go to the experts of all of them.

    Raises:
        BadInput: If the plan or the languages are empty, or a name is no expert.
    """

    def __init__(
        self,
        plan: Mapping[str, Sequence[str]],
        languages: Sequence[str],
        experts: Sequence[str] | None = None,
        *,
        distances: Distances | None = None,
        losses: Mapping[str, Mapping[str, float]] | None = None,
        rule: RoutingRule | None = None,
        base: str | None = None,
        probed: Mapping[str, Mapping[str, float]] | None = None,
        relatives: Relatives | None = None,
    ):
        if not plan or not languages:
            raise BadInput("Routing needs a plan with at least one expert, and at least one language.")
        self.experts = tuple(experts or plan)
        self.languages = tuple(languages)
        self.rule = rule or RoutingRule()
        fallback = [] if self.rule.fallback == "ensemble" else [self.rule.fallback]
        needed = (*plan, *(losses or {}), *(probed or {}), *fallback, *([base] if base else []))
        outside = [name for name in needed if name not in self.experts]
        if outside:
            raise BadInput(f"{', '.join(outside)}: not among the experts, which are {', '.join(self.experts)}.")
        self._owners = owners_of(plan, self.languages)
        self._has_distances = distances is not None
        self._base = base
        self._unowned = Unowned.of(self.languages, set(self._owners), self.experts, base, losses or {}, probed or {})
        if base is not None:
            distances = None  # no language is judged by its relatives then, so typology need not be read
        near = (distances, self.rule.distance_temperature)
        affinity_LK = language_affinity(plan, self.languages, self.experts, *near)
        self._affinity_LK = self._unowned.affinity(affinity_LK, self.rule.loss_temperature)
        table_KL = loss_table(losses, self.languages, self.experts, *near) if losses else None
        at = self.rule.loss_temperature
        self._losses_KL = None if table_KL is None else self._unowned.losses(table_KL, at)
        self._shared = (relatives or Relatives()).shared(self.languages)

    def weights(self, posterior_BL: np.ndarray) -> np.ndarray:
        """Expert weights, shape (B, K), rows summing to 1, before abstention.

        Args:
            posterior_BL: Probabilities of the languages, shape (B, L), rows summing to 1.

        Raises:
            BadInput: If the shape does not fit.
        """
        posterior_BL = np.asarray(posterior_BL, dtype=np.float64)
        if posterior_BL.ndim != 2 or posterior_BL.shape[1] != len(self.languages):
            raise BadInput(f"posterior has shape {posterior_BL.shape}, expected (B, {len(self.languages)}).")
        if self._losses_KL is not None:
            expected_BK = posterior_BL @ self._losses_KL.T
            return softmax(-expected_BK / self.rule.loss_temperature)
        return np.asarray(posterior_BL @ self._affinity_LK)

    def route(
        self,
        posterior_BL: np.ndarray,
        *,
        familiarity_B: np.ndarray | None = None,
        silent_B: np.ndarray | None = None,
        certainty_B: np.ndarray | None = None,
    ) -> list[Route]:
        """Weights and reasons.

        Args:
            posterior_BL: Probabilities of the languages, shape (B, L), rows summing to 1.
            familiarity_B: Probability that each text is in one of the languages at all, shape (B,); 1 if not given.
            silent_B: Texts without letters, shape (B,), bool. Their language counts as undecided: confidence 0.
            certainty_B: How far the form of each text allows to be sure of a language, shape (B,); 1 if not given. It
                lowers the confidence alone.

        Returns:
            One `Route` for each text.
        """
        weights_BK = self.weights(posterior_BL)
        num_texts = len(weights_BK)
        familiarity_B = np.ones(num_texts) if familiarity_B is None else np.asarray(familiarity_B)
        if certainty_B is not None:
            familiarity_B = familiarity_B * certainty_B
        silent_B = np.zeros(num_texts, dtype=bool) if silent_B is None else np.asarray(silent_B)
        return [
            self._one(posterior_BL[b], weights_BK[b], float(familiarity_B[b]), bool(silent_B[b]))
            for b in range(num_texts)
        ]

    def _one(self, posterior_L: np.ndarray, weights_K: np.ndarray, familiarity: float, silent: bool) -> Route:
        best = self._answer(posterior_L)
        confidence = 0.0 if silent else float(posterior_L[list(best)].sum()) * familiarity
        abstained = confidence < self.rule.threshold
        if len(best) > 1 and not silent:
            weights_K = self._shared_weights(posterior_L, weights_K)
        if abstained and self.rule.fallback != "ensemble":
            weights_K = np.eye(len(self.experts))[list(self.experts).index(self.rule.fallback)]
        language = None if silent else SHARED.join(self.languages[column] for column in best)
        return Route(
            language=language,
            confidence=confidence,
            weights={name: w for name, w in zip(self.experts, weights_K.tolist(), strict=True) if w > 0},
            reason=self._reason(posterior_L, weights_K, confidence, silent, abstained, best),
            abstained=abstained,
        )

    def _answer(self, posterior_L: np.ndarray) -> tuple[int, ...]:
        """The most likely language, or all languages of its group if none of them leads clearly among themselves."""
        best = int(posterior_L.argmax())
        columns = self._shared.get(best, (best,))
        return (best,) if posterior_L[best] >= SURE * posterior_L[list(columns)].sum() else columns

    def _shared_weights(self, posterior_L: np.ndarray, weights_K: np.ndarray) -> np.ndarray:
        """Weights of an answer that languages share: half by the loss expected of each expert, which decides who leads,
        half to each language's own experts by its share."""
        own_LK = self._affinity_LK
        if self._losses_KL is not None:
            own_LK = softmax(-self._losses_KL.T / self.rule.loss_temperature)
        return np.asarray((weights_K + posterior_L @ own_LK) / 2)

    def _reason(
        self,
        posterior_L: np.ndarray,
        weights_K: np.ndarray,
        confidence: float,
        silent: bool,
        abstained: bool,
        best: tuple[int, ...],
    ) -> str:
        answers = "all experts answer by their weights"
        if self.rule.fallback != "ensemble":
            answers = f"{self.rule.fallback} answers"
        if silent:
            return f"The text has no letters to tell a language by, so {answers if abstained else 'no expert leads'}."
        order = np.argsort(-posterior_L, kind="stable")
        language = self.languages[int(order[0])]
        codes = [self.languages[column] for column in best]
        label = f"{SHARED.join(map(name_of, codes))} ({SHARED.join(codes)}), {confidence:.0%} sure"
        if abstained:
            return f"{label}, under the threshold of {self.rule.threshold:.0%}: {answers}."
        if len(best) > 1:
            return f"{label}, which this run cannot tell apart here: {self._shared_by(codes, weights_K)}."
        expert = self.experts[int(weights_K.argmax())]
        owners = self._owners.get(language, ())
        if not owners and self._base is not None:
            return f"{label}. No expert was trained on it; {self._unowned.reason(language, expert, self._base)}."
        if not owners:
            why = (
                f"{expert} is nearest by typology"
                if self._has_distances
                else f"without typology {expert} is as good as any"
            )
            if self._losses_KL is not None:
                why = f"judging by related languages, {expert} should do best"
            return f"{label}. No expert was trained on it; {why}."
        if self._losses_KL is not None:
            trained = "trained on it" if expert in owners else "not trained on it"
            return f"{label}: {expert}, {trained}, has the least expected loss."
        if expert in owners:
            return f"{label}: {expert} was trained on it."
        second = self.languages[int(order[1])]
        return f"{label}, but likelier among the languages of {expert} together (then {name_of(second)})."

    def _shared_by(self, codes: list[str], weights_K: np.ndarray) -> str:
        """Which experts answer for languages that share an answer."""
        owners = {name for code in codes for name in self._owners.get(code, ())}
        leading = self.experts[int(weights_K.argmax())]
        if owners == {leading}:
            return f"{leading} was trained on all of them"
        named = [name for name in self.experts if name in owners]
        who = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
        return f"their experts ({who}) share the weight, and {leading} has most of it"
