"""The first embeddings of the pieces of an own vocabulary: made in several ways, of which valid text chooses one.

Each way is tried as it is, and with the head's rows shifted to how often their pieces occur.

Shape letters: `N` new pieces, `H` hidden size.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.files import atomic_write, write_json
from xelm.models.base import load_tokenizer
from xelm.models.rows import has_own_head, put_rows
from xelm.vocabulary.own import FILE, Vocabulary, read_vocabulary
from xelm.vocabulary.pieces.counts import Counts, read_counts
from xelm.vocabulary.rows.frequency import Heard, as_frequent, listening
from xelm.vocabulary.rows.new_rows import WAYS, mixed_rows, random_rows
from xelm.vocabulary.tokenizer_table import pieces_of, table_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

LogProbs = Callable[[Any, Sequence[str], Any], Sequence[np.ndarray]]
"""From a model, texts and a tokenizer to the log-probabilities of the texts, in nats."""
_ROWS = "rows.safetensors"
_SAMPLE_BYTES = 20_000
_SHIFTS = 2
"""One is exact where the head has rows of its own; where it shares them, a second takes up what the first has moved."""
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
    """Make the rows in every way, and keep the best ones.

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
    counts = read_counts(folder)
    made: dict[str, _Made] = {}
    for way, make in WAYS.items():
        weights_NV = make(table, pieces)
        plain = _rows(donor, partial(mixed_rows, weights_NV=weights_NV))
        made[way] = _tried(donor, record.first_new, plain, score)
        made[f"{way}+frequency"] = _shifted(donor, record.first_new, made[way], score, counts)
    control = _rows(donor, lambda known: random_rows(known, len(pieces), seed))
    random = _tried(donor, record.first_new, control, score)
    best = min(made, key=lambda way: (made[way].bits if math.isfinite(made[way].bits) else math.inf, way))
    bits = {"before": before, **{way: one.bits for way, one in made.items()}, "random": random.bits}
    logger.info(
        "vocabulary: %d new pieces; first embeddings %s (bits per byte before training: %s)",
        record.new_pieces,
        best,
        ", ".join(f"{way} {value:.3f}" for way, value in bits.items()),
    )
    settled = {"rows": best, "bits_per_byte": bits, "head_input": made[best].heard.size}
    done = Vocabulary(**asdict(record) | settled)
    with atomic_write(folder / _ROWS) as half:
        save_file({key: value.contiguous() for key, value in made[best].rows.items()}, half)
    write_json(folder / FILE, asdict(done))
    return done


@dataclass(frozen=True)
class _Made:
    """First rows, and how a model reads with them."""

    rows: dict[str, torch.Tensor]
    """`input`, and `output` if the head has weights of its own, each (N, H)."""
    bits: float
    """Bits per byte of valid text."""
    heard: Heard


def _tried(model: Any, first: int, rows: dict[str, torch.Tensor], score: Callable[[Any], float]) -> _Made:
    put_rows(model, first, rows)
    bits, heard = listening(model, first, first + len(rows["input"]), lambda: float(score(model)))
    return _Made(rows, bits, heard)


def _shifted(model: Any, first: int, made: _Made, score: Callable[[Any], float], counts: Counts) -> _Made:
    """The rows shifted to the frequencies of their pieces."""
    part = "output" if "output" in made.rows else "input"
    for _ in range(_SHIFTS):
        rows = as_frequent(made.rows[part], made.heard, counts.pieces, counts.others)
        made = _tried(model, first, {**made.rows, part: rows}, score)
    return made


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
