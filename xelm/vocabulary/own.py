"""A vocabulary of a language's own: learned, sized, and kept in a folder with what was measured of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clustering.errors import BadInput, arg
from clustering.files import atomic_write, write_json
from xelm.run.reading import STRICT, read_as
from xelm.run.records.manifest import fingerprint
from xelm.vocabulary.pieces.counts import count_pieces, write_counts
from xelm.vocabulary.pieces.learn import Learned, extended, learn_pieces
from xelm.vocabulary.pieces.marks import with_whole_words
from xelm.vocabulary.pieces.words import words_of
from xelm.vocabulary.tokenizer_table import fresh_backend, pieces_of, table_of, write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Size = int | Literal["auto"]
FILE = "vocabulary.json"
FORM = 2
"""Of what is learned and kept here: what an earlier version kept is not taken again."""
SIZES = (250, 500, 1000, 2000, 4000, 8000)
"""Numbers of pieces that `auto` chooses from."""
_WORTH_TWICE = 0.95
"""`auto` takes twice as many pieces where held-out text then has at most this share of the tokens. Measured in
experiments/vocabulary: text that is a tenth shorter needs about a twentieth fewer bits per byte, and rows are cheap."""


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
    """How the first embeddings were made: `mean` or `similar`, and `+frequency` if they were shifted to the frequencies
    of their pieces."""
    bits_per_byte: dict[str, float]
    """Valid text under each way before training, `random` as the control; `before` is the donor with its pieces."""
    tokens_a_word: dict[str, float]
    """Number of new pieces -> tokens a word of valid text, for each size that was looked at; `0` is the donor's."""
    aim: float | None
    """Tokens a word from which on there are pieces to add: the median of the run's languages. None: the number was
    given."""
    head_input: float | None = None
    """Sum of the absolute values that the donor's head is given, the mean over valid text: what a step of its rows can
    move a score by. None: written by an earlier version."""
    joins_marks: bool = False
    """Whether the tokenizer's rule was changed so that it cuts no word at the marks of its script
    (`xelm.vocabulary.pieces.marks`)."""

    @property
    def rate(self) -> float:
        """Tokens a word of valid text with all new pieces."""
        return self.tokens_a_word[str(self.new_pieces)]


def own_vocabulary(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    size: Size,
    texts: Iterable[str],
    valid: Sequence[str],
    others: Iterable[float],
) -> Vocabulary | None:
    """Learn a vocabulary into `folder`: the tokenizer and `vocabulary.json`, still without first embeddings.

    Args:
        folder: A folder to make.
        tokenizer: The donor's tokenizer.
        size: Number of new pieces; `auto`: none if valid text is cut into as few tokens a word as the run's own
            languages have in the median; else of `SIZES` the first, and the next as long as it makes valid text a
            twentieth shorter.
        texts: Training text of the language, or of a cluster's languages; read once.
        valid: Held-out text.
        others: Tokens a word of the run's own languages.

    Returns:
        The record; None if `auto` finds that no piece is needed.

    Raises:
        BadInput: If the tokenizer cannot learn pieces, or the text gives none.
    """
    if size != "auto" and size < 1:
        raise BadInput(f"{arg('vocabulary', size)}: give at least 1 piece, or auto.")
    before = table_of(tokenizer)
    aim = statistics.median(found) if (found := list(others)) and size == "auto" else None
    rates = {0: _tokens_a_word(before, valid)}
    if size == "auto" and aim is not None and rates[0] <= aim:
        return None
    table = with_whole_words(before, valid)
    words = words_of(fresh_backend(table), texts)
    learned = learn_pieces(table, words, max(SIZES) if size == "auto" else size)
    if not len(learned):
        raise BadInput("the text gives no pieces that the tokenizer lacks: leave vocabulary out.")
    grown, sized = _sized(table, learned, valid, size)
    first = max(pieces_of(before)) + 1
    counts = count_pieces(grown, words, first, max(pieces_of(grown)) + 1 - first)
    record = Vocabulary(
        new_pieces=len(counts.pieces),
        first_new=first,
        pieces=len(pieces_of(grown)),
        fingerprint=fingerprint(grown),
        rows="",
        bits_per_byte={},
        tokens_a_word={str(number): rate for number, rate in (rates | sized).items()},
        aim=aim,
        joins_marks=table != before,
    )
    with atomic_write(folder) as partial:
        partial.mkdir()
        write_tokenizer(tokenizer, grown, partial)
        write_counts(partial, counts)
        write_json(partial / FILE, asdict(record))
    return record


def _sized(
    table: Mapping[str, Any], learned: Learned, valid: Sequence[str], size: Size
) -> tuple[dict[str, Any], dict[int, float]]:
    """The tokenizer with as many of the learned pieces as pay, and tokens a word with each number looked at."""
    rates = dict[int, float]()
    sizes = [n for n in SIZES if n < len(learned)] if size == "auto" else []
    chosen = 0
    for number in [*sizes, len(learned)]:
        rates[number] = _tokens_a_word(extended(table, learned, number), valid)
        if chosen and size == "auto" and rates[number] > _WORTH_TWICE * rates[chosen]:
            break
        chosen = number
    return extended(table, learned, chosen), rates


def _tokens_a_word(table: Mapping[str, Any], valid: Sequence[str]) -> float:
    """The same figure as that of the run's languages (`xelm.adding.tokenizer_fit`)."""
    from clustering.sources.profiles import profile_texts
    from xelm.models.profile_tokenizers import fast_tokenizer

    profile = profile_texts(valid, fast_tokenizer("own", fresh_backend(table)))
    return profile.subword_tokens / max(1, profile.word_tokens)


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
    marks = "; words are no longer cut at the marks of their script" if record.joins_marks else ""
    return (
        f"vocabulary: {record.new_pieces:,} pieces of its own; {rates['0']:.2f} tokens a word before, "
        f"{record.rate:.2f} after{aim}{marks}\n"
        f"first embeddings: {record.rows} (valid text before training, bits per byte: {bits})"
    )
