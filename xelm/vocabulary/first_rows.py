"""The first embeddings of the pieces of an own vocabulary: made in several ways, of which valid text chooses one.

Shape letters: `N` new pieces, `H` hidden size.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.files import atomic_write, write_json
from xelm.models.base import load_tokenizer
from xelm.models.rows import has_own_head, put_rows
from xelm.vocabulary.new_rows import WAYS, mixed_rows, random_rows
from xelm.vocabulary.own import FILE, Vocabulary, read_vocabulary
from xelm.vocabulary.tokenizer_table import pieces_of, table_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

LogProbs = Callable[[Any, Sequence[str], Any], Sequence[np.ndarray]]
"""From a model, texts and a tokenizer to the log-probabilities of the texts, in nats."""
_ROWS = "rows.safetensors"
_SAMPLE_BYTES = 20_000
logger = logging.getLogger(__name__)


def settle_rows(
    folder: Path,
    load: Callable[[], Any],
    tokenizer: PreTrainedTokenizerBase,
    valid: Sequence[str],
    log_probs: LogProbs,
    *,
    seed: int,
) -> Vocabulary:
    """Choose first embeddings for the new pieces on valid text, and keep them in the folder, if none are there yet.

    Args:
        folder: From `xelm.vocabulary.own.own_vocabulary`.
        load: Loads the donor's model, which is changed.
        tokenizer: The donor's tokenizer.
        valid: Valid text, of which the beginning is read.
        log_probs: How probable a model finds texts.
        seed: Of the control.

    Returns:
        The completed record.
    """
    record = read_vocabulary(folder)
    assert record is not None
    if record.rows:
        return record
    texts, new, donor = _sample(valid), load_tokenizer(str(folder)), load()

    def score(model: Any, read_by: Any) -> float:
        return _bits_per_byte(log_probs(model, texts, read_by), texts)

    before = score(donor, tokenizer)
    plain = donor.merge_and_unload() if hasattr(donor, "merge_and_unload") else donor
    return _first_rows(folder, record, plain, table_of(tokenizer), lambda model: score(model, new), before, seed)


def _first_rows(
    folder: Path,
    record: Vocabulary,
    donor: Any,
    table: Mapping[str, Any],
    score: Callable[[Any], float],
    before: float,
    seed: int,
) -> Vocabulary:
    """Make the rows in every way, and keep the better ones.

    Args:
        folder: Where they are kept.
        record: The vocabulary.
        donor: The donor's model, which is changed.
        table: The donor's tokenizer.
        score: From a model to bits per byte of valid text, read with the new tokenizer.
        before: Bits per byte of the donor with its own pieces.
        seed: Of the control.
    """
    from safetensors.torch import save_file

    grown = table_of(load_tokenizer(str(folder)))
    pieces = [piece for index, piece in pieces_of(grown).items() if index >= record.first_new]
    rows = {}
    for way, make in WAYS.items():
        weights_NV = make(table, pieces)
        rows[way] = _rows(donor, partial(mixed_rows, weights_NV=weights_NV))
    rows["random"] = _rows(donor, lambda known: random_rows(known, len(pieces), seed))
    bits = {"before": before}
    for way, found in rows.items():
        bits[way] = float(score(put_rows(donor, record.first_new, found)))
    best = min(WAYS, key=lambda way: (bits[way] if math.isfinite(bits[way]) else math.inf, way))
    logger.info(
        "vocabulary: %d new pieces; first embeddings %s (bits per byte before training: %s)",
        record.new_pieces,
        best,
        ", ".join(f"{way} {value:.3f}" for way, value in bits.items()),
    )
    done = Vocabulary(**asdict(record) | {"rows": best, "bits_per_byte": bits})
    with atomic_write(folder / _ROWS) as half:
        save_file({key: value.contiguous() for key, value in rows[best].items()}, half)
    write_json(folder / FILE, asdict(done))
    return done


def _rows(model: Any, make: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    rows = {"input": make(model.get_input_embeddings().weight)}
    if has_own_head(model):
        rows["output"] = make(model.get_output_embeddings().weight)
    return rows


def with_rows(model: Any, folder: Path) -> Any:
    """A model with the first embeddings of a vocabulary, changed in place."""
    from safetensors.torch import load_file

    record = read_vocabulary(folder)
    assert record is not None
    return put_rows(model, record.first_new, load_file(folder / _ROWS))


def _sample(texts: Sequence[str]) -> list[str]:
    sample, room = [], _SAMPLE_BYTES
    for text in texts:
        piece = text.encode()[:room].decode("utf-8", errors="ignore")
        if piece:
            sample.append(piece)
        room -= len(piece.encode())
        if room <= 0:
            break
    return sample


def _bits_per_byte(log_probs: Sequence[np.ndarray], texts: Sequence[str]) -> float:
    nats = -sum(float(values_T.sum(dtype=np.float64)) for values_T in log_probs)
    return nats / math.log(2) / max(1, sum(len(text.encode()) for text in texts))
