"""One batch of answers that goes on from where it was interrupted, without reading its tokens again.

Shape letters: `B` prompts, `K` experts, `M` experts of a mixture, `T` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router.generation import DEFAULT_BATCH_SIZE, compose, generate_ids, group_rows, one_each, padded
from router.mixture.experts import MixedExperts, MixedSource

if TYPE_CHECKING:
    from router.mixture.kept import KeptBatch


def keeps_cache(weights_K: np.ndarray, experts: MixedExperts) -> bool:
    """Whether the experts with weight, shape (K,), leave a cache that can be kept; they are loaded."""
    from router.mixture.kept import can_keep

    return all(map(can_keep, experts.models.get_many([experts.names[int(k)] for k in np.flatnonzero(weights_K > 0)])))


def continue_ids(
    ids: Sequence[Sequence[int]],
    weights_BK: np.ndarray,
    experts: MixedExperts,
    *,
    kept: KeptBatch | None = None,
    pad_token_id: int = 0,
    batch_size: int = DEFAULT_BATCH_SIZE,
    for_batch: Callable[[Sequence[int]], dict[str, Any]],
    **options: Any,
) -> KeptBatch | None:
    """Continue prompts that the same experts answer, and keep the cache for going on later.

    Args:
        ids: Token ids of B prompts and what their answers have so far.
        weights_BK: Weights after the policy, shape (B, K), rows summing to 1.
        experts: The K experts.
        kept: The cache of all tokens but the last of each row, in the order of the rows (`joined`); None: all tokens
            are read. It is used up.
        pad_token_id: Fills short rows on the left.
        batch_size: Most rows of a batch where no cache can be kept.
        for_batch: From the indices of a batch's rows to its hooks, as for `generate_ids`, which see each new token.
        **options: For transformers' `generate`.

    Returns:
        The cache after the last new token but one, for the rows in the same order; None if none can be kept, and then
        the rows may have run in several batches.

    Raises:
        BadInput: As `generate_ids`.
    """
    if not keeps_cache(weights_BK.max(axis=0), experts) or not _one_model_answers(weights_BK, experts):
        how: dict[str, Any] = {"pad_token_id": pad_token_id, "batch_size": batch_size, "for_batch": for_batch}
        generate_ids(ids, weights_BK, experts, **how, **options)
        return None
    model, weights_BM = _model(weights_BK, experts)
    extra = {"pad_token_id": pad_token_id, **options, **for_batch(range(len(ids))), "return_dict_in_generate": True}
    return _run(model, ids, weights_BM, kept, experts, extra)


def _one_model_answers(weights_BK: np.ndarray, experts: MixedExperts) -> bool:
    mixed_rows = isinstance(experts.models, MixedSource) and bool(one_each(weights_BK, experts))
    return mixed_rows or len(group_rows(weights_BK)) == 1


def _model(weights_BK: np.ndarray, experts: MixedExperts) -> tuple[Any, np.ndarray | None]:
    """The model of all rows, and its weights if it is a mixture, shape (B, M)."""
    if isinstance(experts.models, MixedSource) and (chosen := one_each(weights_BK, experts)):
        return experts.models.for_rows(chosen), None
    [group] = group_rows(weights_BK)
    members = experts.models.get_many([experts.names[k] for k in group.experts])
    return compose(members, experts.dynamic), weights_BK[:, group.experts] if len(members) > 1 else None


def _run(
    model: Any,
    ids: Sequence[Sequence[int]],
    weights_BM: np.ndarray | None,
    kept: KeptBatch | None,
    experts: MixedExperts,
    options: dict[str, Any],
) -> KeptBatch | None:
    import torch

    from router.mixture.kept import KeptBatch, grows_by_columns
    from router.mixture.releases import GENERATE_CACHE

    device = next(model.parameters()).device
    ids_BT, mask_BT = padded(ids, options["pad_token_id"])
    if weights_BM is not None:
        options["expert_weights"] = torch.tensor(weights_BM, dtype=torch.float32, device=device)
    if kept is not None:
        options[GENERATE_CACHE] = kept.cache
    with torch.inference_mode():
        output = model.generate(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), **options)
    cache, num_cached = output.get(GENERATE_CACHE), output.sequences.shape[1] - 1
    if not grows_by_columns(cache) or cache.get_seq_length() != num_cached:
        return None
    return KeptBatch(cache, [len(row) + num_cached - ids_BT.shape[1] for row in ids], experts.models)
