"""Rows of a model's vocabulary: more of them, and their first values.

Shape letters: `N` new pieces, `H` hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def put_rows(model: Any, first: int, rows: Mapping[str, torch.Tensor]) -> Any:
    """Give a model the rows of new pieces, in place; it grows only if it has no spare rows.

    Args:
        model: A model with a head over pieces, tied or untied.
        first: Id of the first new piece.
        rows: `input`, and `output` if the head has weights of its own, each (N, H).
    """
    import torch

    stop = first + len(rows["input"])
    grow(model, stop)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding[first:stop] = rows["input"].to(embedding)
        if "output" in rows:
            head = model.get_output_embeddings().weight
            head[first:stop] = rows["output"].to(head)
    return model


def grow(model: Any, num_rows: int) -> Any:
    """Give a model at least so many rows, in place; new ones are 0."""
    import torch

    before = model.get_input_embeddings().weight.shape[0]
    if num_rows <= before:
        return model
    model.resize_token_embeddings(num_rows, mean_resizing=False)
    with torch.no_grad():
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            if part is not None:
                part.weight[before:] = 0
    return model


def num_rows(config: Any) -> int:
    """Number of rows of a model's embedding, V."""
    return int(config.get_text_config().vocab_size)


def num_rows_of(folder: Path) -> int:
    """The same of a checkpoint."""
    from transformers import AutoConfig

    return num_rows(AutoConfig.from_pretrained(folder))


def has_own_head(model: Any) -> bool:
    """Whether the head has weights of its own, not those of the input embedding."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is not model.get_input_embeddings().weight
