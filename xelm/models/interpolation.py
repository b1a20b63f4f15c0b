"""Weights between two checkpoints: an expert moved part of the way back to the base it came from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import atomic_write, read_json
from xelm.models.layer_groups import selects
from xelm.models.rows import has_row_per_piece, num_rows_of

if TYPE_CHECKING:
    import torch


def move_back(folder: Path, base: Path, keep: float, put_back: Sequence[str] = (), rows: Collection[int] = ()) -> None:
    """Replace a checkpoint's weights by base + keep × (expert - base), tensor by tensor, computed in at least float32.

    Args:
        folder: The expert's checkpoint, changed in place; every file is replaced whole.
        base: The base's checkpoint.
        keep: Share of the way from the base to the expert that is kept, 0 to 1.
        put_back: Selectors of weights of which nothing is kept (`xelm.models.layer_groups`).
        rows: Rows of the vocabulary of which nothing is kept, in the embedding and in a head of its own.

    Raises:
        BadInput: If the expert has weights that the base has not, or of another shape.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    def share_of(name: str) -> float:
        return 0.0 if any(selects(selector, name) for selector in put_back) else keep

    own, back = _OwnRows.of(folder), _rows_of_base(base, rows)
    with _tensors_of(base) as of_base:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "pt") as expert:
                moved = {
                    name: _between(
                        of_base.get(name), expert.get_tensor(name), share_of(name), f"{folder}: {name}", own, back
                    )
                    for name in expert.keys()  # noqa: SIM118 (a safetensors file is no dictionary)
                }
                metadata = expert.metadata()
            with atomic_write(file) as partial:
                save_file(moved, partial, metadata=metadata)


def tensor_names(folder: Path) -> list[str]:
    """Names of all tensors of a checkpoint or adapter."""
    with _tensors_of(folder) as found:
        return list(found)


@contextmanager
def _tensors_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Name -> the open file that holds the tensor."""
    from safetensors import safe_open

    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(file, "pt")) for file in sorted(folder.glob("*.safetensors"))]
        yield {name: file for file in files for name in file.keys()}  # noqa: SIM118


@dataclass(frozen=True)
class _OwnRows:
    """The rows of an expert that stand for pieces of its own."""

    first: int
    """Id of the first piece that the base has not."""
    rows: int
    """Rows of the expert's embedding."""

    @classmethod
    def of(cls, folder: Path) -> _OwnRows | None:
        """Those of a checkpoint; None if it has none."""
        file = folder / "vocabulary.json"
        if not file.is_file():
            return None
        table, config = read_json(file), read_json(folder / "config.json", finite=False)
        first = table.get("first_new") if isinstance(table, dict) else None
        rows = config.get("vocab_size") if isinstance(config, dict) else None
        if type(first) is not int or type(rows) is not int or not 0 <= first < rows:
            raise BadInput(f"{file}: damaged, or not of this checkpoint: first_new is {first} of {rows} rows.")
        return cls(first, rows)


@dataclass(frozen=True)
class _RowsOfBase:
    """Rows of the vocabulary that become the base's."""

    ids: list[int]
    size: int
    """Rows of the base's vocabulary."""

    def put_back(self, name: str, base: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        """A weight with these rows, if it has a row for each piece: the embedding, a head or its bias."""
        if not self.ids or not has_row_per_piece(name, base.shape, self.size):
            return moved
        moved = moved.clone()
        moved[self.ids] = base[self.ids].to(moved.dtype)
        return moved


def _rows_of_base(base: Path, rows: Collection[int]) -> _RowsOfBase:
    if not rows:
        return _RowsOfBase([], 0)
    size = num_rows_of(base)
    return _RowsOfBase(sorted(row for row in rows if row < size), size)


def _between(
    base_file: Any, expert: torch.Tensor, keep: float, where: str, own: _OwnRows | None, back: _RowsOfBase
) -> torch.Tensor:
    """A tensor part of the way back; rows of pieces that the base does not have stay as they are."""
    import torch

    if base_file is None:
        raise BadInput(f"{where} is a weight that the base does not have, so there is no way back to it.")
    name = where.rpartition(": ")[2]
    base = base_file.get_tensor(name)
    if own and expert.ndim and expert.shape[0] == own.rows and base.shape[1:] == expert.shape[1:]:
        known = back.put_back(name, base, _moved(base, expert[: len(base)], keep))[: own.first]
        return torch.cat([known, expert[own.first :]]).contiguous()
    if base.shape != expert.shape:
        raise BadInput(f"{where} has the shape {tuple(expert.shape)}, the base's {tuple(base.shape)}.")
    return back.put_back(name, base, _moved(base, expert, keep))


def _moved(base: torch.Tensor, expert: torch.Tensor, keep: float) -> torch.Tensor:
    if keep == 1 or not expert.is_floating_point():
        return expert
    wide = expert.to(dtype=_wide(expert), copy=True)
    start = base.to(wide.dtype)
    return (start + keep * (wide - start)).to(expert.dtype).contiguous()


def _wide(tensor: torch.Tensor) -> torch.dtype:
    import torch

    return torch.promote_types(tensor.dtype, torch.float32)
