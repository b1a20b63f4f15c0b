"""A model with other rows of its vocabulary: embeddings, head, biases and the ids in its configuration.

Shape letters: `V` rows before, `W` rows after.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from xelm.models.rows import num_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NOT_AN_ID = ("num_", "max_", "min_")


def taken_rows(model: PreTrainedModel, rows_W: Sequence[int]) -> PreTrainedModel:
    """A copy of a model with only some rows of its vocabulary.

    Which weights depend on the vocabulary is read from the model itself: those whose shape changes with the
    configuration's size.

    Args:
        model: Any model of transformers.
        rows_W: The rows that stay, ascending.

    Raises:
        BadInput: If the model cannot be built with another vocabulary.
    """
    import torch

    ids, config = torch.as_tensor(list(rows_W)), config_with(model.config, {old: new for new, old in enumerate(rows_W)})
    before, after = _shapes(type(model), model.config), _shapes(type(model), config)
    state = {}
    for name, tensor in model.state_dict().items():
        axis = _changed_axis(before.get(name), after.get(name), name)
        state[name] = tensor if axis is None else tensor.index_select(axis, ids.to(tensor.device)).contiguous()
    small: PreTrainedModel = type(model)._from_config(config, dtype=model.dtype)
    missing, unexpected = small.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise BadInput(f"{type(model).__name__}: weights {[*missing, *unexpected][:3]} do not fit another vocabulary.")
    small.tie_weights()
    if getattr(model, "generation_config", None) is not None:
        small.generation_config = copy.deepcopy(model.generation_config)
        _renumber(small.generation_config.__dict__, {old: new for new, old in enumerate(rows_W)})
    small.eval()
    return small


def _shapes(cls: Any, config: Any) -> dict[str, tuple[int, ...]]:
    import torch

    with torch.device("meta"):
        model = cls._from_config(copy.deepcopy(config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _changed_axis(before: tuple[int, ...] | None, after: tuple[int, ...] | None, name: str) -> int | None:
    if before is None or after is None or len(before) != len(after):
        raise BadInput(f"the weights {name} are not there with another vocabulary.")
    changed = [axis for axis, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    if len(changed) > 1:
        raise BadInput(f"the weights {name} depend on the vocabulary in {len(changed)} ways.")
    return changed[0] if changed else None


def config_with(config: Any, new_ids: Mapping[int, int]) -> Any:
    """A copy of a configuration with another vocabulary size, and every id of a token in it renumbered."""
    result = copy.deepcopy(config)
    for part in {id(part): part for part in (result, result.get_text_config())}.values():
        if hasattr(part, "vocab_size"):
            part.vocab_size = len(new_ids)
        _renumber(part.__dict__, new_ids)
    return result


def token_ids(table: Mapping[str, Any]) -> set[int]:
    """Ids of tokens that a configuration names."""
    return {index for _, value in _named(table) for index in (value if isinstance(value, list) else [value])}


def _named(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if not key.endswith(("token_id", "token_ids", "suppress_tokens")) or key.startswith(_NOT_AN_ID):
            continue
        if isinstance(value, int) or (isinstance(value, list) and all(isinstance(one, int) for one in value)):
            yield key, value


def _renumber(table: dict[str, Any], new_ids: Mapping[int, int]) -> None:
    for key, value in list(_named(table)):
        if isinstance(value, list):
            table[key] = [new_ids[one] for one in value if one in new_ids]
        else:
            table[key] = new_ids.get(value)


def rows_named(model: PreTrainedModel) -> set[int]:
    """Rows that the model's configurations name by id."""
    tables = [model.config.__dict__, model.config.get_text_config().__dict__]
    if getattr(model, "generation_config", None) is not None:
        tables.append(model.generation_config.__dict__)
    return {index for table in tables for index in token_ids(table) if 0 <= index < num_rows(model.config)}
