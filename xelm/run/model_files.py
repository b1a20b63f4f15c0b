"""Names in a model's folder that other libraries would follow: transformers opens what they name, wherever it is.

The folder of a model belongs to a run, so it may come from anybody. Before transformers or peft reads it, every name in
it is held to the rules of `xelm.run.paths`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json
from xelm.run.paths import inside, refuse_leaving

_ADAPTER, _TOKENIZER = "adapter_config.json", "tokenizer_config.json"


def refuse_names_that_leave(run: Path, folder: Path) -> None:
    """Refuse a model's folder in which a link, a part of the weights or a file of the tokenizer is outside the run.

    Args:
        run: The run directory.
        folder: Folder of a model inside it.

    Raises:
        BadInput: With the first such name.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        refuse_leaving(run, file)
        if file.name.endswith(".index.json"):
            _refuse_parts(run, file)
    if (folder / _TOKENIZER).is_file():
        _refuse_tokenizer_files(run, folder / _TOKENIZER)


def refuse_adapter(folder: Path) -> None:
    """Refuse a whole model beside which an adapter stands: transformers would load the adapter's own base instead.

    Raises:
        BadInput: If there is one.
    """
    if (folder / _ADAPTER).exists():
        raise BadInput(f"{folder / _ADAPTER}: names a base of its own, but {folder} is a whole model. Remove the file.")


def _refuse_parts(run: Path, file: Path) -> None:
    """The files that the index of a model's weights names."""
    index = read_json(file)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(parts, dict):
        raise BadInput(f"{file}: no index of weights. Restore it from a copy.")
    for name in {str(part): part for part in parts.values()}.values():
        _refuse(run, file, name)


def _refuse_tokenizer_files(run: Path, file: Path) -> None:
    """Some releases of transformers open `vocab_file` and the like as they stand; `save_pretrained` writes none."""
    table = read_json(file, finite=False)
    for key, name in table.items() if isinstance(table, dict) else ():
        if key.endswith("_file") and name is not None:
            _refuse(run, file, name)


def _refuse(run: Path, file: Path, name: Any) -> None:
    beside = file.parent.relative_to(run).as_posix()
    inside(run, f"{beside}/{name}" if isinstance(name, str) else name, str(file))
