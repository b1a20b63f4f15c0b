"""Arithmetic of mixtures in log space: mixing, the running posterior over experts, probabilities of tokens.

Shape letters: `B` rows, `M` experts of a mixture, `T` positions, `V` vocabulary.
"""

from __future__ import annotations

import torch

from clustering.errors import BadInput

# A token that is impossible for an expert (a logit of minus infinity) costs it this much, in nats. If every
# expert did, the posterior would be 0/0 without the floor; e^-10000 is far below what a float can show.
LEAST_LOG_PROB = -1e4


def token_log_probs(log_probs_BTV: torch.Tensor, tokens_BT: torch.Tensor) -> torch.Tensor:
    """Pick the log-probability of each given token.

    Args:
        log_probs_BTV: Log-probabilities in nats, shape (B, T, V).
        tokens_BT: Token ids, shape (B, T).

    Returns:
        Shape (B, T), at least `LEAST_LOG_PROB`.
    """
    return log_probs_BTV.gather(-1, tokens_BT.unsqueeze(-1)).squeeze(-1).clamp(min=LEAST_LOG_PROB)


def log_posterior(log_prior_BMT: torch.Tensor, log_likelihood_BMT: torch.Tensor) -> torch.Tensor:
    """Posterior over experts after each position: log w(t) = log softmax(log prior + sum of likelihoods up to t).

    Args:
        log_prior_BMT: Log-weights before the first position, shape (B, M, 1), or those of each position, (B, M, T);
            minus infinity shuts an expert out.
        log_likelihood_BMT: Nats that each position's token adds, shape (B, M, T); 0 if it must not count.

    Returns:
        Normalised log-weights after each position, shape (B, M, T).

    Raises:
        BadInput: If the prior has another shape: (B, M) would be added to the wrong axes wherever the sizes allow it.
    """
    num_rows, num_experts, num_positions = log_likelihood_BMT.shape
    if log_prior_BMT.shape not in ((num_rows, num_experts, 1), (num_rows, num_experts, num_positions)):
        raise BadInput(
            f"log_prior_BMT has shape {tuple(log_prior_BMT.shape)}; {num_rows} rows, {num_experts} experts and "
            f"{num_positions} positions need ({num_rows}, {num_experts}, 1), or the last size {num_positions}. "
            "Weights of whole rows get their third axis by log_prior_BM[..., None]."
        )
    evidence_BMT = log_prior_BMT + log_likelihood_BMT.cumsum(-1)
    return torch.log_softmax(evidence_BMT, dim=1)


def mix(log_probs: list[torch.Tensor], log_weights: list[torch.Tensor]) -> torch.Tensor:
    """Log-probabilities of a mixture: log of the weighted sum of the experts' probabilities.

    Args:
        log_probs: One tensor (B, T, V) for each of the M experts, in nats.
        log_weights: One tensor (B, T) or (B, 1) for each expert; their exponentials sum to 1 over the experts.

    Returns:
        Shape (B, T, V), normalised over V.
    """
    if len(log_probs) == 1:
        return log_probs[0]
    mixed = log_probs[0] + log_weights[0].unsqueeze(-1)
    for expert_log_probs, expert_log_weights in zip(log_probs[1:], log_weights[1:], strict=True):
        # One expert at a time: a stack of all would double the memory of the largest tensors.
        mixed = torch.logaddexp(mixed, expert_log_probs + expert_log_weights.unsqueeze(-1))
    return mixed
