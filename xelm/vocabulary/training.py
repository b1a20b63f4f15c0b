"""The first weights of an expert with a vocabulary of its own: the donor's, with new rows that train whole."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from xelm.expert_kinds.kind import ExpertKind
from xelm.models.rows import has_own_head
from xelm.vocabulary.own import read_vocabulary
from xelm.vocabulary.rows.first_rows import with_rows

SCORE_STEP = 0.5
"""Nats by which one step of the optimizer moves the scores of pieces with new rows, at most, in a training of
`_TOKENS` tokens; it grows with the root of the tokens. Measured in experiments/vocabulary, as are the limits."""
_TOKENS = 20_480
_MOST_STEP = 1.5
_OPEN_STEP = 1.0


def rate_of_rows(folder: Path, tokens: int | None) -> float:
    """The learning rate of rows that were never trained.

    Adam moves each value by its learning rate a step at first, and so a score by that times the sum of the absolute
    values that the head is given. Rows must go far, but scores that move far in one step forget how often their pieces
    occur, which only a long training learns anew.

    Args:
        folder: The vocabulary with its first embeddings.
        tokens: Of the training; None: it may be made longer, and must not depend on its length.
    """
    record = read_vocabulary(folder)
    assert record is not None
    assert record.head_input is not None
    step = _OPEN_STEP if tokens is None else min(_MOST_STEP, SCORE_STEP * math.sqrt(tokens / _TOKENS))
    return step / record.head_input


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
