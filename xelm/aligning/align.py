"""`align`: how well a model, or the models of a run, put translations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from clustering.errors import BadInput, arg, refuse_text
from clustering.languages.codes import to_code
from xelm.aligning.alignment import Alignment, AlignmentRow, Leakage
from xelm.aligning.measure import Measurement
from xelm.aligning.pairs import HELDOUT, read_pairs
from xelm.aligning.readers import is_run, open_readers
from xelm.transferring.bases.base import ModelBase
from xelm.transferring.recipe import TaskBase


def align(
    model: str | Path,
    pairs: str | Path,
    *,
    pivot: str = "eng",
    languages: Sequence[str] | None = None,
    expert: str | None = None,
    layer: int | None = None,
    pool: Literal["mean", "first", "last"] = "mean",
    prefix: str = "",
    max_length: int = 256,
    batch_size: int = 32,
    device: str = "auto",
    heldout: float = HELDOUT,
    most: int = 2000,
) -> Alignment:
    """Measure how well a model puts translations side by side.

    For each language: how often a sentence's vector is nearest to that of its translation, among all tested pairs, to
    the pivot and back: by cosine (raw), with the mean of each language taken away (centred), by CSLS (Conneau et al.
    2018), and after a rotation fitted on other pairs (orthogonal Procrustes). And how well a linear classifier tells
    the language from a vector. Zero-shot transfer is worst where translations do not find each other.

    Args:
        model: A run, or an encoder, masked or causal model: a folder or a hub id.
        pairs: Folder of <code>.jsonl (or .tsv, …): rows with `text` and the translation under the pivot's code, or with
            an `id` that the pivot's own file has too. `split` may say which pairs are tested.
        pivot: Language that all others are compared with.
        languages: Languages to read. None: all of the folder but the pivot.
        expert: For a run: one model to measure beside the base. None: base, dense, and each language's own expert.
        layer: Hidden layer of the vectors, from 0 (embeddings); negative ones count from the last. None: the last.
        pool: How the states of a text become one vector.
        prefix: Text put before each text, if the model was trained so (`query: `).
        max_length: Most tokens of a text; the rest is cut off.
        batch_size: Texts of one pass.
        device: As for torch (`cpu`, `cuda`); `auto` takes a GPU if there is one.
        heldout: Share of the pairs that is tested where rows name no split; means and rotation come from the others.
        most: Most pairs of a language that are tested: the more there are, the harder it is to find the right one.

    Returns:
        Accuracies with intervals by model and language, leakage, and warnings.

    Raises:
        BadInput: If model or pairs cannot be used.
    """
    refuse_text("languages", languages or ())
    if most < 2:
        raise BadInput(f"{arg('most', most)}: two pairs or more are tested.")
    settings = TaskBase(
        run=str(model) if is_run(model) else None,
        model=None if is_run(model) else str(model),
        layer=layer,
        pool=pool,
        prefix=prefix,
        max_length=max_length,
        batch_size=batch_size,
        device=device,
    )
    found = read_pairs(pairs, pivot, languages=languages, heldout=heldout)
    measurement = Measurement(found, to_code(pivot), most=most)
    base, readers = open_readers(settings, list(found), expert)
    rows, leaks = list[AlignmentRow](), list[Leakage]()
    for reader in readers:
        own, leak = measurement.of(reader, base.encoder(reader.name))
        rows += own
        leaks += [leak] if leak else []
        _forget(base)
    return Alignment(to_code(pivot), rows, leaks, measurement.notes)


def _forget(base: ModelBase) -> None:
    """Let a model go before the next one is loaded."""
    base.encoder.cache_clear()
