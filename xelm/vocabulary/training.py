"""The first weights of an expert with a vocabulary of its own: the donor's, with new rows that train whole."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from xelm.expert_kinds.kind import ExpertKind
from xelm.models.rows import has_own_head
from xelm.vocabulary.own import read_vocabulary
from xelm.vocabulary.rows.first_rows import with_rows

SCORE_STEP = 0.5
"""Nats by which one step of the optimizer moves the scores of pieces with new rows, at most. Of 0.25 to 1.5, smaller
ones are better for short trainings and larger ones for long ones (experiments/vocabulary)."""


def rate_of_rows(folder: Path) -> float:
    """The learning rate of rows that were never trained.

    Adam moves each value by its learning rate a step at first, and so a score by that times the sum of the absolute
    values that the head is given. Rows must go far, but a score that moves by more than `SCORE_STEP` in one step
    forgets how often its piece occurs (measured in experiments/vocabulary).

    Args:
        folder: The vocabulary with its first embeddings.
    """
    record = read_vocabulary(folder)
    assert record is not None
    assert record.head_input is not None
    return SCORE_STEP / record.head_input


def rows_identity(new: bool) -> dict[str, float]:
    """What decides the weights of an expert with new rows, beside its vocabulary; nothing if it has none."""
    return {"score_step": SCORE_STEP} if new else {}


def prepared(model: Any, kind: ExpertKind, folder: Path) -> Any:
    """A donor with the new rows of the vocabulary in `folder`, ready to train.

    Full experts train all rows. Adapters train the new rows whole and leave the others as they are.

    Args:
        model: The donor; changed.
        kind: How the expert trains.
        folder: The vocabulary with its first embeddings (`xelm.vocabulary.rows.first_rows`).

    Raises:
        BadInput: If an adapter has rows of its own already.
    """
    if kind.shares_base:
        return _with_trained_rows(model, kind, folder)
    model = kind.make_trainable(with_rows(model, folder))
    model.get_input_embeddings().weight.requires_grad_(True)
    if has_own_head(model):
        model.get_output_embeddings().weight.requires_grad_(True)
    return model


def _with_trained_rows(model: Any, kind: ExpertKind, folder: Path) -> Any:
    """Adapters, and beside them the new rows (peft's trainable tokens)."""
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    record = read_vocabulary(folder)
    assert record is not None
    adapted = hasattr(model, "get_base_model")
    if adapted and model.peft_config["default"].trainable_token_indices:
        raise BadInput(
            "the donor's adapters have a vocabulary of their own, which cannot be extended: choose another donor, or "
            "leave vocabulary out to keep the donor's."
        )
    state = get_peft_model_state_dict(model, save_embedding_layers=False) if adapted else {}
    outer = model if adapted else kind.make_trainable(model)
    config = copy.deepcopy(outer.peft_config["default"])
    base = with_rows(outer.unload(), folder)
    rows = list(range(record.first_new, record.first_new + record.new_pieces))
    config.trainable_token_indices = dict.fromkeys(_row_modules(base), rows)
    config.inference_mode = False
    wrapped = get_peft_model(base, config)
    if state:
        set_peft_model_state_dict(wrapped, get_peft_model_state_dict(wrapped, save_embedding_layers=False) | state)
    return kind.make_trainable(wrapped)  # what the recipe freezes is frozen in the new wrapping too


def _row_modules(model: Any) -> list[str]:
    """Names of the modules with a row for each piece; a tied head is found by peft itself."""
    parts = [model.get_input_embeddings(), *([model.get_output_embeddings()] if has_own_head(model) else [])]
    return [name for name, module in model.named_modules() if any(module is part for part in parts)]
