"""RoutedLM: a run that answers. Text in any of its languages goes to the right experts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from router.combined_identifier import CombinedIdentifier
from router.expert_pool import ExpertPool
from router.generation import generate_texts
from router.mixture import MixtureForCausalLM
from router.policy import apply_policy, parse_policy
from router.scoring import Score, ScoringOptions, score_texts
from router.text import plain_letters
from router.weights import ExpertWeigher, Route, RoutingRule
from xelm.experts import BASE, ExpertSet

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RoutedLM:
    """Routed inference over the experts of a run.

    Example:
        >>> lm = RoutedLM.from_pretrained("runs/a")
        >>> lm.route(["Guten Morgen"])[0].language
        'deu'
        >>> lm.generate(["Guten Morgen"], max_new_tokens=20)
    """

    def __init__(
        self,
        experts: ExpertSet,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_loaded: int | None = None,
        rule: RoutingRule | None = None,
    ):
        self.experts = experts
        self.names = [*experts.names, BASE]
        self.tokenizer = experts.tokenizer()
        self.identifier = CombinedIdentifier.load(experts.path / "router")
        self._weigher = self._make_weigher(rule)
        self._device, self._dtype = device, dtype
        self._pool = ExpertPool({name: partial(self._load, name) for name in self.names}, max_loaded=max_loaded)

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_loaded: int | None = None,
        rule: RoutingRule | None = None,
    ) -> RoutedLM:
        """Open a run; experts are loaded when they are first needed.

        Args:
            run: Run directory, or hub id of one.
            device: As for torch (`cpu`, `cuda:0`); `auto` takes a GPU where there is one.
            dtype: Of the weights (`bfloat16`, …); `auto` keeps the checkpoint's.
            max_loaded: Most experts in memory at a time; the least recently used one leaves. None: no limit.
            rule: Temperatures, threshold and fallback of the routing.

        Raises:
            BadInput: If it is no run, or a file of it is damaged.
        """
        return cls(ExpertSet.load(run), device=device, dtype=dtype, max_loaded=max_loaded, rule=rule)

    def route(self, texts: Sequence[str]) -> list[Route]:
        """Where each text goes: language, confidence, weights over experts, and why in a sentence."""
        texts = _texts(texts)
        if not texts:
            return []
        posterior_BL, familiarity_B = self.identifier.identify(texts)
        silent_B = np.array([not plain_letters(text) for text in texts])
        return self._weigher.route(posterior_BL, familiarity_B=familiarity_B, silent_B=silent_B)

    def weights(self, texts: Sequence[str], policy: str) -> np.ndarray:
        """Weights of `names` that answer under a policy, shape (texts, names), rows summing to 1."""
        routes = self.route(texts)
        weights_BK = np.array([[route.weights.get(name, 0.0) for name in self.names] for route in routes])
        abstained_B = np.array([route.abstained for route in routes], dtype=bool)
        return apply_policy(weights_BK.reshape(-1, len(self.names)), policy, self.names, abstained_B=abstained_B)

    def score(
        self, texts: Sequence[str], policy: str = "ensemble", *, options: ScoringOptions | None = None
    ) -> list[Score]:
        """How probable texts are: nats, tokens, bytes, bits per byte.

        Args:
            texts: Any length; longer ones than the context are scored in overlapping windows.
            policy: `top1`, `topm`, `ensemble`, `bayes`, or an expert's name.
            options: Context, stride and size of a batch.

        Raises:
            BadInput: If the policy is unknown.
        """
        texts, dynamic = _texts(texts), parse_policy(policy, self.names).dynamic
        if not texts:
            return []
        weights_BK = self.weights(texts, policy)
        return score_texts(
            texts, self.tokenizer, weights_BK, self.names, self._pool.get, dynamic=dynamic, options=options
        )

    def generate(self, prompts: Sequence[str], policy: str = "top1", **options: Any) -> list[str]:
        """Continue prompts in any languages; answers come in the order asked, without the prompt.

        Args:
            prompts: Texts.
            policy: As for `score`.
            options: Any option of transformers' `generate` (`max_new_tokens`, `do_sample`, `num_beams`, …).

        Raises:
            BadInput: If the policy is unknown, or a prompt leaves no room in the context.
        """
        prompts, dynamic = _texts(prompts), parse_policy(policy, self.names).dynamic
        if not prompts:
            return []
        weights_BK = self.weights(prompts, policy)
        return generate_texts(
            prompts, self.tokenizer, weights_BK, self.names, self._pool, dynamic=dynamic, **options
        )

    def as_causal_lm(self, policy: str = "ensemble") -> PreTrainedModel:
        """A transformers model whose logits are the routed mixture's log-probabilities, for `generate`, pipelines and
        evaluation harnesses. Each row of a batch is routed by its own text.

        Raises:
            BadInput: If the policy is unknown.
        """
        dynamic = parse_policy(policy, self.names).dynamic
        model = MixtureForCausalLM.from_experts([self._pool.get(name) for name in self.names], dynamic=dynamic)
        model.weigher = lambda ids, mask: self._token_weights(ids, mask, policy)
        return model

    def _token_weights(self, input_ids: Any, attention_mask: Any, policy: str) -> Any:
        import torch

        rows = [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return torch.tensor(self.weights(texts, policy), device=input_ids.device)

    def _make_weigher(self, rule: RoutingRule | None) -> ExpertWeigher:
        from clustering import distance_matrix

        measured = self.experts.result("valid")
        losses = None
        if measured and set(self.names) <= set(measured["models"]):
            losses = {
                name: {code: cell["bits_per_byte"] for code, cell in measured["models"][name].items()}
                for name in self.names
            }
        return ExpertWeigher(
            self.experts.plan.clusters,
            self.identifier.languages,
            self.names,
            distances=lambda codes: distance_matrix(codes).values,
            losses=losses,
            rule=rule,
        )

    def _load(self, name: str) -> PreTrainedModel:
        import torch

        device = ("cuda" if torch.cuda.is_available() else "cpu") if self._device == "auto" else self._device
        dtype = "auto" if self._dtype == "auto" else getattr(torch, self._dtype)
        return self.experts.load_model(name, dtype=dtype, device_map=device)


def _texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise BadInput("one text was given where a list of texts is expected: write [text].")
    return list(texts)
