"""Several experts as one causal language model of transformers: its logits are log-probabilities of the mixture.

p(x_t | x_<t) = sum over experts e of w_e(t) p_e(x_t | x_<t), with one weight vector for each row, or for each position
of it. Weights stay (`dynamic=False`) or follow the text (`dynamic=True`, policy `bayes`): w_e(t) is the posterior over
experts given the tokens so far, so that the probability of a whole text is the prior-weighted sum of the experts'
probabilities of it.
Shape letters: `B` rows, `M` experts, `P` cached positions, `T` new positions, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from clustering.errors import BadInput
from router.mixture.cache import MixtureCache
from router.mixture.config import MixtureConfig
from router.mixture.inputs import (
    check_weights,
    full_mask,
    kept_positions,
    positions_from,
    refuse_unknown,
    shifted_loss,
)
from router.mixture.logspace import log_posterior, token_log_probs
from router.mixture.proof import prove
from router.mixture.reading import Pass, Reading, mixed, read
from router.mixture.releases import GENERATE_CACHE, cache_in, forward_parameters, output_with_cache

# Options of `generate` that depend on where logits are zero; all others see only differences or probabilities.
_READ_PLAIN_LOGITS = ("repetition_penalty", "encoder_repetition_penalty", "exponential_decay_length_penalty")


Weigher = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From token ids (B, T) and attention mask (B, T) to expert weights (B, M), or (B, T, M) for the token after each
position, rows summing to 1."""


class MixtureForCausalLM(PreTrainedModel, GenerationMixin):
    """A mixture of causal language models with one vocabulary, for any code that uses a transformers model.

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
    accepts_loss_kwargs = False
    """transformers' `Trainer` then divides the loss itself."""
    weigher: Weigher | None = None
    """Chooses the weights of each row if a call gives none."""

    def __init__(self, config: MixtureConfig, experts: Sequence[PreTrainedModel] | None = None):
        super().__init__(config)
        if experts is None:
            experts = [
                AutoModelForCausalLM.from_config(AutoConfig.for_model(**entry)) for entry in config.expert_configs
            ]
        else:
            # post_init gives fresh values to every module that does not carry this mark; adapters lack it.
            for expert in experts:
                for module in expert.modules():
                    module._is_hf_initialized = True  # type: ignore[assignment]
        self.experts = torch.nn.ModuleList(experts)
        # transformers asks direct children only; through the list it would not see that experts tie their weights.
        self.experts.all_tied_weights_keys = _tied_keys(experts)  # type: ignore[assignment]
        whole = {name for expert in experts for name in getattr(expert, "_no_split_modules", None) or ()}
        self.experts._no_split_modules = whole  # type: ignore[assignment]
        self.accepted = [forward_parameters(expert) for expert in experts]
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_experts(
        cls,
        experts: Sequence[PreTrainedModel],
        *,
        weights: Sequence[float] | None = None,
        dynamic: float = False,
        generation_config: GenerationConfig | None = None,
    ) -> MixtureForCausalLM:
        """Compose loaded models, sharing their parameters.

        Args:
            experts: M causal language models with the same vocabulary.
            weights: Default weights, M numbers >= 0 that sum to 1; equal weights if not given.
            dynamic: How far weights follow the text (`Policy.dynamic`): False, True, or a share.
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
        check_weights(torch.tensor([config.weights]), len(experts))
        model = cls(config, experts)
        chosen = generation_config or experts[0].generation_config
        if chosen is not None:
            model.generation_config = GenerationConfig.from_dict(chosen.to_dict())
        model.eval()  # type: ignore[no-untyped-call]
        return model

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Save as transformers does, every expert whole.

        Raises:
            BadInput: If experts are adapters on a shared base, whose copy in each expert would lack the adapter.
        """
        if not all(isinstance(expert, PreTrainedModel) for expert in self.experts):
            raise BadInput(
                "A mixture of adapters cannot be saved as one checkpoint. Save the run's folder, or merge each adapter "
                "into a copy of the base first."
            )
        return super().save_pretrained(*args, **kwargs)

    def get_input_embeddings(self) -> torch.nn.Module:
        """The first expert's input embeddings."""
        return cast(PreTrainedModel, self.experts[0]).get_input_embeddings()

    def get_output_embeddings(self) -> None:
        """None: a mixture has no single output layer."""
        return

    def new_cache(self, offloading: bool = False) -> MixtureCache:
        """An empty cache for this mixture."""
        return MixtureCache([cast(PreTrainedModel, expert).config for expert in self.experts], offloading)

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: MixtureCache | None = None,
        past_key_values: MixtureCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        labels: torch.LongTensor | None = None,
        expert_weights: torch.Tensor | None = None,
        normalized: bool = True,
        num_prompt: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Log-probabilities of the next token under the mixture.

        Args:
            input_ids: New tokens, shape (B, T).
            attention_mask: 1 for real tokens, 0 for padding, shape (B, P + T); all real if not given.
            position_ids: Positions of the new tokens, shape (B, T); counted from the mask if not given.
            cache: The cache that an earlier call returned.
            past_key_values: The same, by the name that it had before transformers 5.24.
            use_cache: Whether to return a cache; True if one is given.
            logits_to_keep: Only the last so many positions (0: all), or the indices of positions.
            labels: Targets, shape (B, T), shifted inside, -100 does not count; gives `loss`, mean nats per token.
            expert_weights: Weights of the experts, shape (B, M), or (B, T, M) for the prediction at each new position;
                rows sum to 1. Not given: those of `self.weigher`, else of the configuration. For a `dynamic` mixture
                they are the prior. With a cache those of the last position hold for later calls.
            normalized: Whether `logits` are log-probabilities. If not, the experts' log normalisers are added, weighted
                as the experts are: a mixture of one expert then gives that expert's own logits. Probabilities are the
                same; penalties that transformers puts on logits then mean the same for one expert and for several.
            num_prompt: For models that route by text: how many of each row's real tokens are a prompt, whose weights
                hold for all that follows, shape (B,). Not given: with a cache all tokens of the first call; else none.
            **kwargs: Keywords that `generate` and pipelines pass to every model, with their neutral values.

        Returns:
            `logits` (B, kept, V) in nats, float32; `loss`; and the cache, as `cache` or (before
            transformers 5.24) `past_key_values`.

        Raises:
            BadInput: If a keyword is unknown, or the mask or the weights do not fit.
        """
        refuse_unknown(kwargs)
        cache = cache if cache is not None else past_key_values
        if cache is None and use_cache:
            cache = self.new_cache()
        mask_BS = full_mask(attention_mask, input_ids, cache.get_seq_length() if cache is not None else 0)
        weights_BTM = self._weights_for(input_ids, mask_BS, expert_weights, cache, num_prompt)
        active = _active_experts(weights_BTM, cache)
        position_BT = positions_from(mask_BS, input_ids.shape[1]) if position_ids is None else position_ids
        kept = kept_positions(logits_to_keep if labels is None else 0, input_ids)
        log_weights_BMT = weights_BTM[..., active].log().transpose(1, 2)

        call = Pass(input_ids, mask_BS, position_BT, cache, kept, normalized)
        if self.config.dynamic and len(active) > 1:
            logits = mixed(*self._follow(call, active, log_weights_BMT))
        else:
            readings = [read(self.experts[e], self.accepted[e], e, call) for e in active]
            logits = mixed(readings, list(_at(kept, log_weights_BMT).unbind(1)))
        loss = None if labels is None else shifted_loss(logits, labels)
        return output_with_cache(cache, loss=loss, logits=logits)

    def _follow(
        self, call: Pass, active: list[int], log_prior_BMT: torch.Tensor
    ) -> tuple[list[Reading], list[torch.Tensor]]:
        """Run the experts and compute the posterior over them; the cache keeps the state for the next call."""
        cache, input_ids = call.cache, call.input_ids
        last = cache.last_log_probs if cache is not None else None
        gains, readings, next_log_probs = [], [], []
        for index, expert in enumerate(active):
            reading = read(self.experts[expert], self.accepted[expert], expert, call, everywhere=True)
            all_BTV = reading.everywhere
            before = all_BTV[:, :-1] if last is None else torch.cat([last[index][:, None], all_BTV[:, :-1]], 1)
            gain_BT = token_log_probs(before, input_ids[:, input_ids.shape[1] - before.shape[1] :])
            # No prediction was made for the first token of a text.
            gains.append(gain_BT if last is not None else torch.nn.functional.pad(gain_BT, (1, 0)))
            readings.append(reading)
            if cache is not None:
                next_log_probs.append(all_BTV[:, -1].clone())
        num_new = input_ids.shape[1]
        real_BS = call.mask.bool()
        counted_BT = (real_BS & torch.nn.functional.pad(real_BS[:, :-1], (1, 0)))[:, -num_new:]
        gain_BMT = torch.stack(gains, dim=1) * counted_BT[:, None] * float(self.config.dynamic)
        start_BMT = log_prior_BMT
        if cache is not None and cache.log_posterior_BM is not None:
            start_BMT = cache.log_posterior_BM[..., None]
        log_weights_BMT = log_posterior(start_BMT, gain_BMT)
        if cache is not None:
            cache.log_posterior_BM, cache.last_log_probs = log_weights_BMT[..., -1], next_log_probs
        return readings, list(_at(call.kept, log_weights_BMT).unbind(1))

    def _weights_for(
        self,
        input_ids: torch.Tensor,
        mask_BS: torch.Tensor,
        expert_weights: torch.Tensor | None,
        cache: MixtureCache | None,
        num_prompt: torch.Tensor | None,
    ) -> torch.Tensor:
        """Weights of the predictions, shape (B, T, M), or (B, 1, M) where all positions have the same."""
        num_rows, num_new = input_ids.shape
        if cache is not None and cache.weights_BM is not None and expert_weights is None:
            return cache.weights_BM[:, None]
        if expert_weights is not None:
            weights = expert_weights
        else:
            whole = mask_BS.sum(1) if cache is not None else None
            weights = self._weigh(input_ids, mask_BS, whole if num_prompt is None else num_prompt)
        weights = weights.to(input_ids.device)
        if not weights.is_floating_point() or weights.dtype in (torch.float16, torch.bfloat16):
            weights = weights.float()
        if weights.shape[0] == 1:
            weights = weights.expand(num_rows, *weights.shape[1:])
        if cache is None or cache.active is None:
            check_weights(weights, len(self.experts), num_rows, num_new)
        weights_BTM = weights if weights.ndim == 3 else weights[:, None]
        if cache is not None:
            cache.weights_BM = weights_BTM[:, -1]
        return weights_BTM

    def _weigh(self, input_ids: torch.Tensor, mask_BS: torch.Tensor, num_prompt: torch.Tensor | None) -> torch.Tensor:
        """Weights where a call gives none, shape (B, M), (1, M) or (B, T, M)."""
        if self.weigher is not None:
            return self.weigher(input_ids, mask_BS)
        return torch.tensor([self.config.weights])

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers' `generate`, with `expert_weights` (see `forward`) as one more option.

        Raises:
            BadInput: If an option does not work for a mixture, or the mixture computes wrong values with the installed
                releases.
        """
        given = args[1] if len(args) > 1 else kwargs.get("generation_config")
        if _chosen("guidance_scale", kwargs, given, self.generation_config) not in (None, 1, 1.0):
            raise BadInput(
                "guidance_scale reads the text without its prompt, for which a mixture of experts has no weights. "
                "Leave it out, or use the policy top1."
            )
        if any(
            _chosen(name, kwargs, given, self.generation_config) not in (None, 1, 1.0) for name in _READ_PLAIN_LOGITS
        ):
            kwargs.setdefault("normalized", False)
        weights_BM, ids = (
            kwargs.get("expert_weights"),
            args[0] if args else kwargs.get("inputs", kwargs.get("input_ids")),
        )
        if weights_BM is not None and ids is not None and len(weights_BM) == 1:
            # Beams repeat each row: one row of weights for the whole batch would be too few.
            kwargs["expert_weights"] = weights_BM.expand(len(ids), -1)
        use_cache = _chosen("use_cache", kwargs, given, self.generation_config)
        prove(self, use_cache=use_cache is not False)
        return GenerationMixin.generate(cast(Any, self), *args, **kwargs)

    def _prepare_cache_for_generation(  # type: ignore[override]  # the hook's other arguments changed between releases
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Hook of `generate`: start with one cache for each expert."""
        if cache_in(model_kwargs) is not None or generation_config.use_cache is False:
            return
        implementation = generation_config.cache_implementation
        if implementation not in (None, "dynamic", "dynamic_full", "offloaded"):
            raise BadInput(
                f"cache_implementation={implementation!r} does not work for a mixture, whose experts' caches grow. "
                "Leave it out, or use 'offloaded'."
            )
        model_kwargs[GENERATE_CACHE] = self.new_cache(offloading=implementation == "offloaded")


def _tied_keys(experts: Sequence[PreTrainedModel]) -> dict[str, str]:
    """Tied parameter -> the one it shares, by their names within the list of experts."""
    return {
        f"{index}.{tied}": f"{index}.{source}"
        for index, expert in enumerate(experts)
        for tied, source in (getattr(expert, "all_tied_weights_keys", None) or {}).items()
    }


def _chosen(name: str, keywords: dict[str, Any], *configs: Any) -> Any:
    """An option of `generate`: given as a keyword, or else the first of the configurations that sets it."""
    if keywords.get(name) is not None:
        return keywords[name]
    return next((value for config in configs if (value := getattr(config, name, None)) is not None), None)


def _at(kept: torch.Tensor | None, log_weights_BMT: torch.Tensor) -> torch.Tensor:
    """The log-weights of the kept positions; those that are the same everywhere stay one."""
    return log_weights_BMT if kept is None or log_weights_BMT.shape[-1] == 1 else log_weights_BMT[..., kept]


def _active_experts(weights_BTM: torch.Tensor, cache: MixtureCache | None) -> list[int]:
    if cache is not None and cache.active is not None:
        return cache.active
    active = [int(index) for index in (weights_BTM > 0).flatten(0, 1).any(0).nonzero().flatten()]
    if cache is not None:
        cache.active = active
    return active


AutoConfig.register(MixtureConfig.model_type, MixtureConfig)
AutoModelForCausalLM.register(MixtureConfig, MixtureForCausalLM)
