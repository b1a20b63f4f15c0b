"""Cross entropy of a linear head, a few positions at a time, so that the logits of all are never held.

The gradients are made on the way forward, where the logits of a chunk still are, so nothing is computed twice. torch
has `linear_cross_entropy(options=LinearCrossEntropyOptions())` for this, but in bf16 it rounds the loss to 3 digits, it
knows no autocast, and its chunks for wide vocabularies are of few positions, each a pass over the whole gradient of the
head, which is slow on a CPU.

Shape letters: N positions that are judged, n those of a chunk, H width of the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def chunked_cross_entropy(
    hidden_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    labels_N: torch.Tensor,
    *,
    positions: int,
) -> torch.Tensor:
    """Cross entropy of `hidden @ weight.T + bias`, summed over positions, in nats and at least fp32.

    Under autocast the products are taken in its type, as those of a linear layer are; sums are fp32. It can be
    differentiated once.

    Args:
        hidden_NH: What the head reads, (N, H).
        weight_VH: The head's matrix.
        bias_V: The head's bias, if it has one.
        labels_N: The right token at each position, int64.
        positions: Positions of a chunk.
    """
    differentiable = torch.is_grad_enabled()  # within `forward` it never is
    apply: Callable[..., torch.Tensor] = _ChunkedCrossEntropy.apply
    return apply(hidden_NH, weight_VH, bias_V, labels_N, positions, differentiable)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        labels_N: torch.Tensor,
        positions: int,
        differentiable: bool,
    ) -> torch.Tensor:
        device = hidden_NH.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else weight_VH.dtype
        exact = torch.promote_types(dtype, torch.float32)
        x_NH, w_VH = hidden_NH.to(dtype), weight_VH.to(dtype)
        wanted = [differentiable and needed for needed in ctx.needs_input_grad[:3]]
        of_hidden = torch.empty_like(x_NH) if wanted[0] else None
        of_weight = torch.zeros_like(weight_VH, dtype=exact) if wanted[1] else None
        of_bias = torch.zeros_like(bias_V, dtype=exact) if wanted[2] and bias_V is not None else None
        total = torch.zeros((), dtype=exact, device=hidden_NH.device)
        with torch.autocast(device, enabled=False):
            for begin in range(0, len(x_NH), positions):
                here = slice(begin, begin + positions)
                x_nH, labels_n1 = x_NH[here], labels_N[here, None]
                logits_nV = (x_nH @ w_VH.T).to(exact)
                if bias_V is not None:
                    logits_nV += bias_V.to(exact)
                logits_nV -= logits_nV.amax(dim=1, keepdim=True)
                total -= logits_nV.gather(1, labels_n1).sum()
                sums_n1 = logits_nV.exp_().sum(dim=1, keepdim=True)
                total += sums_n1.log().sum()
                if not any(wanted):
                    continue
                errors_nV = logits_nV.div_(sums_n1)  # what the model believes, less what is right
                errors_nV.scatter_add_(1, labels_n1, -torch.ones_like(labels_n1, dtype=exact))
                if of_bias is not None:
                    of_bias += errors_nV.sum(dim=0)
                rounded_nV = errors_nV.to(dtype)
                if of_hidden is not None:
                    torch.mm(rounded_nV, w_VH, out=of_hidden[here])
                if of_weight is not None and of_weight.dtype == dtype:
                    of_weight.addmm_(rounded_nV.T, x_nH)
                elif of_weight is not None:
                    of_weight += rounded_nV.T @ x_nH
        ctx.gradients = (of_hidden, of_weight, of_bias)
        ctx.dtypes = (hidden_NH.dtype, weight_VH.dtype, None if bias_V is None else bias_V.dtype)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor) -> Any:
        gradients, ctx.gradients = ctx.gradients, None  # they are scaled in place, so they serve once
        scaled = (
            None if value is None else value.mul_(of_loss).to(dtype)
            for value, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return (*scaled, None, None, None)
