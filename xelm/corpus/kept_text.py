"""The tokenised training text that a run keeps in its cache, which a copy of the run may lack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xelm.corpus.store import TokenStore, open_store

if TYPE_CHECKING:
    from xelm.run.experts import ExpertSet


def text_folder(experts: ExpertSet, code: str) -> Path | None:
    """Where a run keeps the text of a language, whether it is there or not; None if its manifest names no place.

    Raises:
        BadInput: If the manifest names a place outside the cache.
    """
    counts = experts.manifest.data.get(code)
    name = counts.get("cache") if isinstance(counts, dict) else None
    return None if name is None else experts.files.cached(name)


def kept_text(experts: ExpertSet, code: str) -> TokenStore | None:
    """The text of a language that a run was trained on; None if it is not at hand.

    Raises:
        BadInput: If it is damaged.
    """
    folder = text_folder(experts, code)
    return open_store(folder, code) if folder and (folder / "counts.json").is_file() else None
