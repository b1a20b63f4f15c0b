"""Text that a student learns from: the run's own training text, or other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clustering.corpora.find import find_sources
from clustering.errors import BadInput, arg
from xelm.corpus.blocks import Blocks
from xelm.corpus.kept_text import kept_text
from xelm.corpus.store import TokenStore, build_store
from xelm.models import base as base_models
from xelm.recipe.recipe import Base, Recipe
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE


def blocks_of(experts: ExpertSet, data: str | Path | None, work: Path) -> dict[str, Blocks]:
    """Blocks of each language, as long as the run's.

    Args:
        experts: The run.
        data: Text, as `[data] path`; None: the run's own.
        work: Folder for what is tokenised of other text.

    Raises:
        BadInput: If the run's own text is not there any more.
    """
    recipe = Recipe.from_dict(experts.manifest.recipe)
    length = base_models.sequence_length(Base(model=str(experts.folder(BASE))), recipe.train.sequence_length)
    if data is None:
        return {code: Blocks(_own_store(experts, code), length) for code in experts.languages}
    tokenizer, found = experts.tokenizer(), {}
    for source in find_sources(str(data)):
        folder = work / "text" / f"{source.code}-{source.fingerprint()[:12]}"
        store = build_store(folder, source, recipe.data, tokenizer, vocab_size=len(tokenizer))
        found[source.code] = Blocks(store, length)
    return found


def _own_store(experts: ExpertSet, code: str) -> TokenStore:
    store = kept_text(experts, code)
    if store is None:
        raise BadInput(f"{experts.path}: the tokenised text of {code} is not there. Name text with {arg('data')}.")
    return store


def text_print(experts: ExpertSet, data: str | Path | None) -> Mapping[str, Any]:
    """Fingerprints of that text by language."""
    if data is None:
        texts = experts.manifest.data
        return {code: one.get("sha256") if isinstance(one, dict) else None for code, one in texts.items()}
    return {source.code: source.fingerprint() for source in find_sources(str(data))}
