"""A vocabulary of a language's own: learned, sized, given first embeddings, and kept in a folder.

Shape letters: `N` new pieces, `H` hidden size.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clustering.errors import BadInput, arg
from clustering.files import atomic_write, write_json
from xelm.models.base import load_tokenizer
from xelm.models.rows import has_own_head, put_rows
from xelm.run.reading import STRICT, read_as
from xelm.run.records.manifest import fingerprint
from xelm.vocabulary.learn import Learned, extended, learn_pieces
from xelm.vocabulary.new_rows import WAYS, mixed_rows, random_rows
from xelm.vocabulary.tokenizer_table import fresh_backend, pieces_of, table_of, write_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Size = int | Literal["auto"]
FILE = "vocabulary.json"
_ROWS = "rows.safetensors"
SIZES = (250, 500, 1000, 2000, 4000, 8000)
"""Numbers of pieces that `auto` chooses from."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vocabulary:
    """The record of an expert's own vocabulary, `vocabulary.json` in its folder."""

    __pydantic_config__ = STRICT

    new_pieces: int
    """N."""
    first_new: int
    """Id of the first new piece; the others follow."""
    pieces: int
    """Pieces of the whole vocabulary."""
    fingerprint: str
    """Of the tokenizer: experts with the same one read the same pieces."""
    rows: str
    """How the first embeddings were made: `mean` or `similar`."""
    bits_per_byte: dict[str, float]
    """Valid text under each way before training, `random` as the control; `before` is the donor with its pieces."""
    tokens_a_word: dict[str, float]
    """Number of new pieces -> tokens a word of valid text, for each size that was looked at; `0` is the donor's."""
    aim: float | None
    """Tokens a word that were aimed at: the median of the run's languages. None: the number was given."""


def own_vocabulary(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    size: Size,
    texts: Sequence[str],
    valid: Sequence[str],
    others: Iterable[float],
) -> Vocabulary | None:
    """Learn a vocabulary into `folder`: the tokenizer and `vocabulary.json`, still without first embeddings.

    Args:
        folder: A folder to make.
        tokenizer: The donor's tokenizer.
        size: Number of new pieces; `auto`: the fewest of `SIZES` that cut valid text into as few tokens a word as the
            run's own languages have in the median, or the most that the text gives.
        texts: Training text of the language.
        valid: Held-out text.
        others: Tokens a word of the run's own languages.

    Returns:
        The record; None if `auto` finds that no piece is needed.

    Raises:
        BadInput: If the tokenizer cannot learn pieces, or the text gives none.
    """
    if size != "auto" and size < 1:
        raise BadInput(f"{arg('vocabulary', size)}: give at least 1 piece, or auto.")
    table = table_of(tokenizer)
    aim = statistics.median(found) if (found := list(others)) and size == "auto" else None
    learned = learn_pieces(table, texts, max(SIZES) if size == "auto" else size)
    rates = {0: _tokens_a_word(table, valid)}
    if size == "auto" and aim is not None and rates[0] <= aim:
        return None
    if not len(learned):
        raise BadInput("the text gives no pieces that the tokenizer lacks: leave vocabulary out.")
    sizes = [n for n in SIZES if n < len(learned)] if size == "auto" else []
    for number in [*sizes, len(learned)]:
        rates[number] = _tokens_a_word(extended(table, learned, number), valid)
        if aim is not None and rates[number] <= aim:
            break
    return _write(folder, tokenizer, table, learned, max(rates), rates, aim)


def _tokens_a_word(table: Mapping[str, Any], valid: Sequence[str]) -> float:
    """The same figure as that of the run's languages (`xelm.adding.tokenizer_fit`)."""
    from clustering.sources.profiles import profile_texts
    from xelm.models.profile_tokenizers import fast_tokenizer

    profile = profile_texts(valid, fast_tokenizer("own", fresh_backend(table)))
    return profile.subword_tokens / max(1, profile.word_tokens)


def _write(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    table: Mapping[str, Any],
    learned: Learned,
    number: int,
    rates: Mapping[int, float],
    aim: float | None,
) -> Vocabulary:
    grown = extended(table, learned, number)
    first = max(pieces_of(table)) + 1
    record = Vocabulary(
        new_pieces=max(pieces_of(grown)) + 1 - first,
        first_new=first,
        pieces=len(pieces_of(grown)),
        fingerprint=fingerprint(grown),
        rows="",
        bits_per_byte={},
        tokens_a_word={str(size): rate for size, rate in rates.items()},
        aim=aim,
    )
    with atomic_write(folder) as partial:
        partial.mkdir()
        write_tokenizer(tokenizer, grown, partial)
        write_json(partial / FILE, asdict(record))
    return record


def first_rows(
    folder: Path, donor: Any, table: Mapping[str, Any], score: Any, *, before: float, seed: int
) -> Vocabulary:
    """Choose first embeddings for the new pieces on valid text, and keep them in the folder.

    Args:
        folder: From `own_vocabulary`.
        donor: The donor's model, which is changed.
        table: The donor's tokenizer.
        score: From a model to bits per byte of valid text, read with the new tokenizer.
        before: Bits per byte of the donor with its own pieces.
        seed: Of the control.

    Returns:
        The completed record.
    """
    from safetensors.torch import save_file

    record = read_vocabulary(folder)
    assert record is not None
    grown = table_of(load_tokenizer(str(folder)))
    pieces = [piece for index, piece in pieces_of(grown).items() if index >= record.first_new]
    rows = {way: _rows(donor, lambda known, way=way: mixed_rows(known, WAYS[way](table, pieces))) for way in WAYS}
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
    with atomic_write(folder / _ROWS) as partial:
        save_file({key: value.contiguous() for key, value in rows[best].items()}, partial)
    write_json(folder / FILE, asdict(done))
    return done


def _rows(model: Any, make: Any) -> dict[str, torch.Tensor]:
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


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The record of an own vocabulary in a folder; None if there is none.

    Raises:
        BadInput: If it is damaged.
    """
    file = folder / FILE
    return read_as(Vocabulary, file) if file.is_file() else None


def vocabulary_text(record: Vocabulary) -> str:
    """What was learned, and what it changed before any training, in two lines for the terminal."""
    rates = record.tokens_a_word
    aim = "" if record.aim is None else f", the run's languages {record.aim:.2f}"
    bits = ", ".join(f"{way} {value:.3f}" for way, value in record.bits_per_byte.items())
    return (
        f"vocabulary: {record.new_pieces:,} pieces of its own; {rates['0']:.2f} tokens a word before, "
        f"{rates[max(rates, key=int)]:.2f} after{aim}\n"
        f"first embeddings: {record.rows} (valid text before training, bits per byte: {bits})"
    )


def bits_per_byte(log_probs: Sequence[np.ndarray], texts: Sequence[str]) -> float:
    """Bits per byte of texts."""
    nats = -sum(float(values_T.sum(dtype=np.float64)) for values_T in log_probs)
    return nats / math.log(2) / max(1, sum(len(text.encode()) for text in texts))
