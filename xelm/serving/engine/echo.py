"""Log-probabilities of a prompt's own tokens, as evaluation harnesses ask for them over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xelm.serving.engine.jobs import Prompt
from xelm.serving.engine.sampling import TokenLogProb, described

if TYPE_CHECKING:
    from xelm.inference.causal_lm import RoutedForCausalLM


def prompt_log_probs(model: RoutedForCausalLM, prompt: Prompt, num_top: int) -> list[TokenLogProb]:
    """Log-probabilities under the routed model of each token of a prompt, without the start token.

    The forward pass is the same as that of `RoutedLM.as_causal_lm` for a harness in the same process.

    Args:
        model: The model from `RoutedLM.as_causal_lm`.
        prompt: At least one token.
        num_top: How many of the likeliest tokens to return at each position.

    Returns:
        One for each token after `prompt.num_lead`; the first of a prompt without a start token has no log-probability.
    """
    import torch

    ids = prompt.ids
    first = [] if prompt.num_lead else [TokenLogProb(ids[0], None)]
    if len(ids) == 1:
        return first
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits_TV = model(input_ids=torch.tensor([ids[:-1]], device=device)).logits[0]
        log_probs_TV = torch.log_softmax(logits_TV.float(), dim=-1)
    rest = zip(ids[1:], log_probs_TV, strict=True)
    return first + [described(token, log_probs_V, num_top) for token, log_probs_V in rest]
