"""The tokenised training text that a run keeps in its cache, which a copy of the run may lack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xelm.corpus.store import TokenStore, open_store

if TYPE_CHECKING:
    from xelm.run.experts import ExpertSet


READ_APART = "read_apart"
"""The key of a language's data that says where its text is kept as experts with pieces of their own read it."""


def text_folder(experts: ExpertSet, code: str, reader: str | None = None) -> Path | None:
    """Where a run keeps the text of a language, whether it is there or not; None if its manifest names no place.

    Args:
        experts: The run.
        code: The language.
        reader: The expert in whose pieces it is wanted; None: as it was first read, in the run's pieces or, of an
            added language with a vocabulary of its own, in these.

    Raises:
        BadInput: If the manifest names a place outside the cache.
    """
    counts = experts.manifest.data.get(code)
    counts = counts if isinstance(counts, dict) else {}
    apart = counts.get(READ_APART)
    name = apart.get(reader) if isinstance(apart, dict) else None
    name = name or counts.get("cache")
    return None if name is None else experts.files.cached(name)


def kept_text(experts: ExpertSet, code: str, reader: str | None = None) -> TokenStore | None:
    """The text of a language that a run was trained on; None if it is not at hand.

    Args:
        experts: The run.
        code: The language.
        reader: As for `text_folder`.

    Raises:
        BadInput: If it is damaged.
    """
    folder = text_folder(experts, code, reader)
    return open_store(folder, code) if folder and (folder / "counts.json").is_file() else None
