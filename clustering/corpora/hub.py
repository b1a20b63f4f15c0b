"""Datasets of the Hugging Face hub, or of its form on disk, with one config per language."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clustering.corpora.rows import Reading, Row, refuse, refuse_empty, row_of
from clustering.errors import BadInput
from clustering.files import sha256_of


def is_dataset_repository(folder: Path) -> bool:
    """Whether a folder has a card that lists its files; then its folders are not named after languages."""
    card = folder / "README.md"
    if not card.is_file():
        return False
    header = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    return bool(header and re.search(r"^configs:", header[1], re.MULTILINE))


def config_names(name: str) -> list[str]:
    """The configs of a dataset.

    Raises:
        BadInput: If there is no such dataset.
    """
    import datasets

    try:
        return list(datasets.get_dataset_config_names(name))
    except Exception as error:  # the hub client raises many unrelated types; all mean that it cannot be reached
        raise BadInput(f"{name}: neither a folder here nor a dataset that can be reached ({error}).") from None


def dataset_rows(name: str, config: str, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """The documents of one config, all its splits one after another."""
    documents = 0
    for number, value in _values(name, config):
        try:
            row = row_of(value, reading)
        except ValueError as error:
            refuse(f"{config}, row {number}: {error}", skipped, reading.way_out)
            continue
        if row.text.strip():
            documents += 1
            yield row
    refuse_empty(config, documents)


def revision(name: str) -> str:
    """A fingerprint of the dataset's content: SHA-256 of its files here, or the hub's commit."""
    if Path(name).exists():
        files = sorted(p for p in Path(name).rglob("*") if p.is_file())
        return hashlib.sha256("".join(sha256_of(p) for p in files).encode()).hexdigest()
    from huggingface_hub import dataset_info

    return str(dataset_info(name).sha)


def _values(name: str, config: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their number in the split, which each row then names if there are several."""
    import datasets

    try:
        splits = datasets.load_dataset(name, name=config, streaming=True)
        given = len(splits) > 1  # a dataset that is all `train` has not been split
        for split, rows in splits.items():
            for number, row in enumerate(rows, 1):
                named = row.get("split") or (split if given else None)
                yield number, {**row, "split": named} if named else row
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise BadInput(
            f"{config}: cannot be read ({error}). It is empty or damaged: get it again, "
            "or remove it to leave this language out."
        ) from None
