"""Check a mixture once in a process, on a few tokens, before it generates, so that no answer is silently wrong.

transformers renames arguments and outputs between releases, and a name that no code reads raises no error: the cache is
then lost, and every token is drawn as if it stood alone. So what `generate` really computes, step by step, is compared
with the plain weighted sum of the experts run on the whole text. Shape letters as in `router.mixture.model`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import GenerationConfig, GenerationMixin

from clustering.errors import BadInput
from router.mixture.inputs import positions_from
from router.mixture.logspace import LEAST_LOG_PROB, log_posterior, mix, token_log_probs
from router.mixture.releases import versions

if TYPE_CHECKING:
    from router.mixture.model import MixtureForCausalLM

_NUM_PROMPT, _NUM_PADDING, _NUM_NEW = 5, 2, 3
# Rounding moves a log-probability by about this many units in the last place of its size; a lost cache by far more.
_ROUNDING_UNITS = 8
_PROVEN: set[tuple[object, ...]] = set()
_LOCK = threading.Lock()


class _Wrong(Exception):
    """The mixture computes wrong values; the message says by how much."""


def prove(model: MixtureForCausalLM, *, use_cache: bool) -> None:
    """Check a mixture of these kinds of experts, unless that was already done in this process.

    Args:
        model: The mixture, of which the first two experts take part.
        use_cache: Whether it will generate with a cache.

    Raises:
        BadInput: If what it generates from is not the weighted sum of its experts; the message names the versions.
    """
    experts = [cast(Any, expert) for expert in model.experts]
    kinds = {_kind(expert) for expert in experts}
    key = (use_cache, model.config.dynamic, *sorted(kinds))
    with _LOCK:
        if key in _PROVEN:
            return
        was_training = model.training
        model.eval()  # type: ignore[no-untyped-call]
        try:
            _check(model, use_cache)
        except _Wrong as wrong:
            raise BadInput(_refusal(str(wrong), use_cache)) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # BadInput is one of them
            raise BadInput(_refusal(f"fails ({type(error).__name__}: {error})", use_cache)) from error
        finally:
            model.train(was_training)
        _PROVEN.add(key)


@torch.inference_mode()
def _check(model: MixtureForCausalLM, use_cache: bool) -> None:
    ids_BT, mask_BT, weights_BM = _example(model)
    config = GenerationConfig(
        max_new_tokens=_NUM_NEW,
        do_sample=False,
        num_beams=1,
        eos_token_id=None,
        pad_token_id=0,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    found: Any = GenerationMixin.generate(
        cast(Any, model),
        ids_BT,
        generation_config=config,
        attention_mask=mask_BT,
        expert_weights=weights_BM,
    )
    tokens_BS = found.sequences[:, :-1]
    num_steps = len(found.logits)
    wanted_BTV = _plain_sum(model, tokens_BS, weights_BM)[:, -num_steps:]
    found_BTV = torch.stack(found.logits, dim=1).to(wanted_BTV.device)
    eps = torch.finfo(next(model.parameters()).dtype).eps
    for step in range(num_steps):
        apart = _apart(found_BTV[:, step], wanted_BTV[:, step], eps)
        if apart:
            raise _Wrong(f"is {apart:.2g} nats off the weighted sum of its experts at new token {step + 1}")


def _example(model: MixtureForCausalLM) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two rows of tokens, one of them padded, and weights of the first two experts."""
    vocabulary, device = model.config.vocab_size, next(model.parameters()).device
    ids_BT = (torch.arange(1, 2 * _NUM_PROMPT + 1, device=device).reshape(2, -1) * 7919) % vocabulary
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, :_NUM_PADDING] = 0
    weights_BM = torch.zeros((2, len(model.experts)), device=device)
    weights_BM[:, :2] = torch.tensor([0.625, 0.375], device=device)[: len(model.experts)]
    return ids_BT, mask_BT, weights_BM / weights_BM.sum(1, keepdim=True)


def _plain_sum(model: MixtureForCausalLM, tokens_BT: torch.Tensor, weights_BM: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the next token everywhere: each expert run once over the whole text, without a cache."""
    mask_BT = torch.ones_like(tokens_BT)
    mask_BT[1, :_NUM_PADDING] = 0
    members = [cast(Any, expert) for expert in list(model.experts)[:2]]
    log_probs = []
    for index, expert in enumerate(members):
        inputs = {"input_ids": tokens_BT, "attention_mask": mask_BT}
        if "position_ids" in model.accepted[index]:
            inputs["position_ids"] = positions_from(mask_BT, tokens_BT.shape[1])
        device = next(expert.parameters()).device
        logits = expert(**{name: value.to(device) for name, value in inputs.items()}, use_cache=False).logits
        log_probs.append(torch.log_softmax(logits.float(), -1).to(tokens_BT.device))
    log_weights_BMT = weights_BM[:, : len(members)].log()[..., None].expand(-1, -1, tokens_BT.shape[1])
    if model.config.dynamic:
        counted_BT = mask_BT.bool() & torch.nn.functional.pad(mask_BT[:, :-1].bool(), (1, 0))
        gains = [torch.nn.functional.pad(token_log_probs(each[:, :-1], tokens_BT[:, 1:]), (1, 0)) for each in log_probs]
        gain_BMT = torch.stack(gains, dim=1) * counted_BT[:, None] * float(model.config.dynamic)
        log_weights_BMT = log_posterior(weights_BM[:, : len(members), None].log(), gain_BMT)
    return mix(log_probs, list(log_weights_BMT.unbind(1)))


def _apart(found_BV: torch.Tensor, wanted_BV: torch.Tensor, eps: float) -> float:
    """Mean difference in nats, 0 if rounding explains it."""
    found_BV, wanted_BV = (each.float().clamp(min=LEAST_LOG_PROB) for each in (found_BV, wanted_BV))
    apart = float((found_BV - wanted_BV).abs().mean())
    allowed = max(1e-3, _ROUNDING_UNITS * eps * float(wanted_BV.abs().mean()))
    return 0.0 if apart <= allowed else apart


def _kind(expert: Any) -> str:
    inner = expert.get_base_model() if hasattr(expert, "get_base_model") else expert
    weight, attention = next(expert.parameters()), getattr(inner.config, "_attn_implementation", None)
    return f"{type(expert).__name__} {type(inner).__name__} {attention} {weight.device.type} {weight.dtype}"


def _refusal(what: str, use_cache: bool) -> str:
    way_out = "Pass use_cache=False, or install" if use_cache else "Install"
    return (
        f"A mixture of experts {what} when it generates {'with' if use_cache else 'without'} a cache under "
        f"{versions()}, so it would answer wrongly. {way_out} a release of transformers that docs/versions.md lists; "
        "the policy top1 and single experts are not touched by this."
    )
