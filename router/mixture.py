"""Several experts as one causal language model of transformers: its logits are log-probabilities of the mixture.

p(x_t | x_<t) = sum over experts e of w_e(t) p_e(x_t | x_<t), with one weight vector for each row. Weights stay
(`dynamic=False`) or follow the text (`dynamic=True`, policy `bayes`): w_e(t) is the posterior over experts given the
tokens so far, so that the probability of a whole text is the prior-weighted sum of the experts' probabilities of it.
Shape letters: `B` rows, `M` experts, `P` cached positions, `T` new positions, `V` vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from clustering.errors import BadInput
from router.logspace import log_posterior, mix, token_log_probs
from router.mixture_cache import MixtureCache

IGNORED_LABEL = -100
Weigher = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From token ids (B, T) and attention mask (B, T) to expert weights (B, M), rows summing to 1."""


class MixtureConfig(PreTrainedConfig):
    """Configurations of the experts, the weights used when a call gives none, and whether weights follow the text."""

    model_type = "xelm-mixture"

    def __init__(
        self,
        expert_configs: Sequence[PreTrainedConfig | dict[str, Any]] | None = None,
        weights: Sequence[float] | None = None,
        dynamic: bool = False,
        **kwargs: Any,
    ):
        configs = [c if isinstance(c, dict) else c.to_dict() for c in expert_configs or []]
        self.expert_configs = configs
        self.weights = list(weights) if weights is not None else [1.0 / len(configs)] * len(configs)
        self.dynamic = dynamic
        first = configs[0] if configs else {}
        self.vocab_size = kwargs.pop("vocab_size", first.get("vocab_size"))
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(name, first.get(name))
        # Experts tie their own weights; the mixture has none to tie.
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)


class MixtureForCausalLM(PreTrainedModel, GenerationMixin):
    """A mixture of causal language models with one vocabulary, for anything that takes a transformers model.

    Exact: the cached, batched and padded result equals running every expert on the whole prefix. Experts whose weight
    is 0 in every row of a batch are not run; group rows by their experts (`router.generation`) to profit.

    Example:
        >>> model = MixtureForCausalLM.from_experts([expert_a, expert_b])
        >>> model.generate(ids, expert_weights=torch.tensor([[0.9, 0.1]]), max_new_tokens=20)
    """

    config_class = MixtureConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_compile_fullgraph = False
    _is_stateful = False

    def __init__(self, config: MixtureConfig, experts: Sequence[PreTrainedModel] | None = None):
        super().__init__(config)
        if experts is None:
            experts = [AutoModelForCausalLM.from_config(_config_of(entry)) for entry in config.expert_configs]
        else:
            # post_init gives fresh values to every module that does not carry this mark; adapters lack it.
            for expert in experts:
                for module in expert.modules():
                    module._is_hf_initialized = True
        self.experts = torch.nn.ModuleList(experts)
        self.weigher: Weigher | None = None
        self._parameters_of = [set(inspect.signature(e.forward).parameters) for e in experts]
        self.post_init()

    @classmethod
    def from_experts(
        cls,
        experts: Sequence[PreTrainedModel],
        *,
        weights: Sequence[float] | None = None,
        dynamic: bool = False,
        generation_config: GenerationConfig | None = None,
    ) -> MixtureForCausalLM:
        """Compose loaded models, sharing their parameters.

        Args:
            experts: M causal language models with the same vocabulary.
            weights: Default weights, M numbers >= 0 that sum to 1; equal weights if not given.
            dynamic: Whether weights follow the text.
            generation_config: Defaults of `generate`; the first expert's if not given.

        Raises:
            BadInput: If there is no expert, vocabularies differ, or the weights do not fit.
        """
        if not experts:
            raise BadInput("A mixture needs at least one expert, none was given.")
        sizes = sorted({expert.config.get_text_config().vocab_size for expert in experts})
        if len(sizes) > 1:
            raise BadInput(
                f"Experts of a mixture must share one tokenizer, these have vocabularies of {sizes} tokens. "
                "Mix only experts that branched from the same base model."
            )
        config = MixtureConfig([e.config for e in experts], weights, dynamic, vocab_size=sizes[0])
        _check_weights(torch.tensor([config.weights]), len(experts))
        model = cls(config, experts)
        chosen = generation_config or experts[0].generation_config
        if chosen is not None:
            model.generation_config = GenerationConfig.from_dict(chosen.to_dict())
        return model.eval()

    def get_input_embeddings(self) -> torch.nn.Module:
        """The first expert's input embeddings."""
        return self.experts[0].get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """None: a mixture has no single output layer."""
        return

    def new_cache(self, offloading: bool = False) -> MixtureCache:
        """An empty cache for this mixture."""
        return MixtureCache([expert.config for expert in self.experts], offloading)

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: MixtureCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        labels: torch.LongTensor | None = None,
        expert_weights: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Log-probabilities of the next token under the mixture.

        Args:
            input_ids: New tokens, shape (B, T).
            attention_mask: 1 for real tokens, 0 for padding, shape (B, P + T); all real if not given.
            position_ids: Positions of the new tokens, shape (B, T); counted from the mask if not given.
            past_key_values: What an earlier call returned.
            use_cache: Whether to return a cache; True if one is given.
            logits_to_keep: Only the last so many positions (0: all), or the indices of positions.
            labels: Targets, shape (B, T), shifted inside, -100 does not count; gives `loss`, mean nats per token.
            expert_weights: Weights of the experts, shape (B, M), rows summing to 1. Not given: those of
                `self.weigher`, else of the configuration. For a `dynamic` mixture they are the prior.
            **kwargs: Ignored but for what every transformers model accepts.

        Returns:
            `logits` (B, kept, V) in nats, float32, normalised; `past_key_values`; `loss`.
        """
        cache = past_key_values
        if cache is None and use_cache:
            cache = self.new_cache()
        mask_BS = _full_mask(attention_mask, input_ids, cache)
        weights_BM = self._weights_for(input_ids, mask_BS, expert_weights, cache)
        active = _active_experts(weights_BM, cache)
        if position_ids is None:
            position_ids = _positions(mask_BS, input_ids.shape[1])
        kept = _kept_positions(logits_to_keep if labels is None else 0, input_ids)
        log_weights_BM = weights_BM[:, active].log()

        if self.config.dynamic and len(active) > 1:
            logits = self._dynamic(input_ids, mask_BS, position_ids, cache, active, log_weights_BM, kept)
        else:
            log_probs = [self._log_probs(e, input_ids, mask_BS, position_ids, cache, kept)[0] for e in active]
            logits = mix(log_probs, [log_weights_BM[:, i : i + 1] for i in range(len(active))])
        loss = None if labels is None else _loss(logits, labels)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache)

    def _dynamic(
        self,
        input_ids: torch.Tensor,
        mask_BS: torch.Tensor,
        position_ids: torch.Tensor,
        cache: MixtureCache | None,
        active: list[int],
        log_prior_BM: torch.Tensor,
        kept: torch.Tensor | None,
    ) -> torch.Tensor:
        """Mixture under the posterior over experts; the state for the next call goes into the cache."""
        last = cache.last_log_probs if cache is not None else None
        gains, kept_log_probs, next_log_probs = [], [], []
        for index, expert in enumerate(active):
            log_probs_BTV, all_BTV = self._log_probs(expert, input_ids, mask_BS, position_ids, cache, kept)
            before = all_BTV[:, :-1] if last is None else torch.cat([last[index][:, None], all_BTV[:, :-1]], 1)
            gain_BT = token_log_probs(before, input_ids[:, input_ids.shape[1] - before.shape[1] :])
            # The first token of a text has no prediction to be judged by.
            gains.append(gain_BT if last is not None else torch.nn.functional.pad(gain_BT, (1, 0)))
            kept_log_probs.append(log_probs_BTV)
            if cache is not None:
                next_log_probs.append(all_BTV[:, -1].clone())
        num_new = input_ids.shape[1]
        real_BS = mask_BS.bool()
        counted_BT = (real_BS & torch.nn.functional.pad(real_BS[:, :-1], (1, 0)))[:, -num_new:]
        gain_BMT = torch.stack(gains, dim=1) * counted_BT[:, None]
        start_BM = log_prior_BM if last is None or cache is None else cache.log_posterior_BM
        assert start_BM is not None
        log_weights_BMT = log_posterior(start_BM, gain_BMT)
        if cache is not None:
            cache.log_posterior_BM, cache.last_log_probs = log_weights_BMT[..., -1], next_log_probs
        if kept is not None:
            log_weights_BMT = log_weights_BMT[..., kept]
        return mix(kept_log_probs, list(log_weights_BMT.unbind(1)))

    def _log_probs(
        self,
        expert: int,
        input_ids: torch.Tensor,
        mask_BS: torch.Tensor,
        position_ids: torch.Tensor,
        cache: MixtureCache | None,
        kept: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One expert's log-probabilities at the kept positions, and (for dynamic mixtures) at all of them."""
        model, accepted = self.experts[expert], self._parameters_of[expert]
        device = model.get_input_embeddings().weight.device
        inputs: dict[str, Any] = {
            "input_ids": input_ids.to(device),
            "attention_mask": mask_BS.to(device),
            "use_cache": cache is not None,
            "past_key_values": cache.experts[expert] if cache is not None else None,
        }
        if "position_ids" in accepted:
            inputs["position_ids"] = position_ids.to(device)
        everything = self.config.dynamic or kept is None
        if not everything and "logits_to_keep" in accepted:
            inputs["logits_to_keep"] = kept.to(device)  # type: ignore[union-attr]
        logits = model(**inputs).logits.to(input_ids.device)
        if not everything and "logits_to_keep" not in accepted:
            logits = logits[:, kept]
        log_probs = torch.log_softmax(logits.float() if logits.dtype != torch.float64 else logits, dim=-1)
        if self.config.dynamic and kept is not None:
            return log_probs[:, kept], log_probs
        return log_probs, log_probs

    def _weights_for(
        self,
        input_ids: torch.Tensor,
        mask_BS: torch.Tensor,
        expert_weights: torch.Tensor | None,
        cache: MixtureCache | None,
    ) -> torch.Tensor:
        num_rows = input_ids.shape[0]
        if cache is not None and cache.weights_BM is not None and expert_weights is None:
            return cache.weights_BM
        if expert_weights is not None:
            weights_BM = expert_weights
        elif self.weigher is not None:
            weights_BM = self.weigher(input_ids, mask_BS)
        else:
            weights_BM = torch.tensor([self.config.weights]).expand(num_rows, -1)
        weights_BM = weights_BM.to(input_ids.device)
        if not weights_BM.is_floating_point() or weights_BM.dtype in (torch.float16, torch.bfloat16):
            weights_BM = weights_BM.float()
        if weights_BM.shape[0] == 1:
            weights_BM = weights_BM.expand(num_rows, -1)
        if cache is None or cache.active is None:
            _check_weights(weights_BM, len(self.experts), num_rows)
        if cache is not None:
            cache.weights_BM = weights_BM
        return weights_BM

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Hook of `generate`: start with one cache for each expert."""
        if model_kwargs.get("past_key_values") is not None or generation_config.use_cache is False:
            return
        implementation = generation_config.cache_implementation
        if implementation not in (None, "dynamic", "dynamic_full", "offloaded"):
            raise BadInput(
                f"cache_implementation={implementation!r} does not work for a mixture, whose experts' caches grow. "
                "Leave it out, or use 'offloaded'."
            )
        model_kwargs["past_key_values"] = self.new_cache(offloading=implementation == "offloaded")


def _config_of(entry: dict[str, Any]) -> PreTrainedConfig:
    return AutoConfig.for_model(**entry)


def _full_mask(
    attention_mask: torch.Tensor | None, input_ids: torch.Tensor, cache: MixtureCache | None
) -> torch.Tensor:
    num_past = cache.get_seq_length() if cache is not None else 0
    if attention_mask is None:
        return torch.ones(
            (input_ids.shape[0], num_past + input_ids.shape[1]), dtype=torch.long, device=input_ids.device
        )
    if attention_mask.shape != (input_ids.shape[0], num_past + input_ids.shape[1]):
        raise BadInput(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but {num_past} cached and {input_ids.shape[1]} "
            f"new tokens in {input_ids.shape[0]} rows need {(input_ids.shape[0], num_past + input_ids.shape[1])}."
        )
    return attention_mask


def _positions(mask_BS: torch.Tensor, num_new: int) -> torch.Tensor:
    """Positions that start at 0 on each row's first real token, for the new tokens."""
    return (mask_BS.long().cumsum(-1) - 1).clamp(min=0)[:, -num_new:]


def _kept_positions(logits_to_keep: int | torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor | None:
    if isinstance(logits_to_keep, torch.Tensor):
        return logits_to_keep
    if logits_to_keep == 0:
        return None
    num_new = input_ids.shape[1]
    return torch.arange(max(0, num_new - logits_to_keep), num_new, device=input_ids.device)


def _active_experts(weights_BM: torch.Tensor, cache: MixtureCache | None) -> list[int]:
    if cache is not None and cache.active is not None:
        return cache.active
    active = [int(index) for index in (weights_BM > 0).any(0).nonzero().flatten()]
    if cache is not None:
        cache.active = active
    return active


def _check_weights(weights_BM: torch.Tensor, num_experts: int, num_rows: int = 1) -> None:
    if weights_BM.ndim != 2 or weights_BM.shape != (num_rows, num_experts):
        raise BadInput(
            f"expert_weights has shape {tuple(weights_BM.shape)}; {num_rows} rows and {num_experts} experts need "
            f"({num_rows}, {num_experts})."
        )
    sums_B = weights_BM.sum(1)
    if bool((weights_BM < 0).any()) or not torch.allclose(sums_B, torch.ones_like(sums_B), atol=1e-3):
        raise BadInput("Each row of expert_weights must be at least 0 and sum to 1. Divide each row by its sum.")


def _loss(log_probs_BTV: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    shifted = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED_LABEL)
    return torch.nn.functional.nll_loss(
        log_probs_BTV.flatten(0, 1), shifted.flatten().to(log_probs_BTV.device), ignore_index=IGNORED_LABEL
    )


AutoConfig.register(MixtureConfig.model_type, MixtureConfig)
AutoModelForCausalLM.register(MixtureConfig, MixtureForCausalLM)
