"""Export a model of a run as a plain checkpoint; a change to the base is applied to a copy of the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import atomic_write
from xelm.run.experts import ExpertSet


def export(run: str | Path, name: str, out: str | Path) -> Path:
    """Write one model of a run as a folder that transformers opens without xelm and without the run.

    Args:
        run: Run directory, or hub id of one.
        name: `base`, `dense` or an expert.
        out: A new folder.

    Returns:
        The folder, with weights, configuration and tokenizer.

    Raises:
        BadInput: If there is no such run or model, or the folder holds files.
    """
    from xelm.models.base import quiet_transformers

    folder, experts = Path(out), ExpertSet.load(run)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: not empty. Give a new folder.")
    model: Any = experts.load_model(name)
    if hasattr(model, "merge_and_unload"):  # adapters
        model = model.merge_and_unload()
    with atomic_write(folder) as partial, quiet_transformers():
        model.save_pretrained(partial)
        experts.tokenizer(name).save_pretrained(partial)
    return folder
