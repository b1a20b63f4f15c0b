"""The parts of pruning that a model and a run share: the text, the smaller vocabulary, the comparison, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import find_sources
from clustering.errors import BadInput
from xelm.corpus.splits import split_rows
from xelm.models.rows import num_rows
from xelm.pruning.choose import chosen_pieces
from xelm.pruning.compared import Comparison, embeddings_of, largest_difference, same_rows
from xelm.pruning.resize import rows_named
from xelm.recipe.docstrings import fields_in_help
from xelm.recipe.recipe import Data
from xelm.vocabulary.tokenizer_table import fresh_backend, pieces_of, renumbered, table_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPORT_FILE = "pruning.json"
_MOST_HELDOUT = 2000
"""Held-out sentences of each language that are tokenised by both."""
_COMPARED = 20
"""Sentences of each language on which hidden states and logits are compared."""
_MOST_DIFFERENCE = 1e-5


@fields_in_help
@dataclass(frozen=True)
class Pruning:
    """What `prune` did."""

    folder: str
    """The new folder."""
    languages: list[str]
    """The languages whose pieces are kept."""
    pieces_before: int
    """Pieces of the whole tokenizer."""
    pieces: int
    """Pieces that are kept."""
    rows_before: int
    """Rows of the embedding, which may be padded beyond the pieces."""
    rows: int
    """Rows that are kept."""
    parameters_before: int
    """Parameters of the whole model."""
    parameters: int
    """Parameters of the pruned one."""
    comparison: Comparison
    """How held-out sentences are read before and after."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"share_unchanged": self.comparison.share_unchanged}

    def to_text(self) -> str:
        """For the terminal."""
        share = 100 * self.parameters / self.parameters_before
        found = self.comparison
        lines = [
            f"pieces: {self.pieces_before:,} before, {self.pieces:,} after",
            f"parameters: {self.parameters_before:,} before, {self.parameters:,} after ({share:.1f} %)",
            f"held-out sentences tokenised as before: {found.unchanged:,} of {found.sentences:,} "
            f"({100 * found.share_unchanged:.1f} %)",
        ]
        if found.largest_difference is not None:
            lines.append(
                "hidden states, and logits over kept pieces, of these: largest difference "
                f"{found.largest_difference:.1e}"
            )
        return "\n".join([*lines, f"written to {self.folder}"])


@dataclass(frozen=True)
class Reduction:
    """The smaller vocabulary: its tokenizer, and which rows of the embedding it keeps."""

    table: dict[str, Any]
    new_ids: dict[int, int]

    @property
    def kept(self) -> list[int]:
        """The rows that stay, ascending."""
        return list(self.new_ids)


@dataclass(frozen=True)
class Texts:
    """Sentences of the languages: those that pieces are chosen by, and those that the result is judged by."""

    train: dict[str, list[str]]
    heldout: dict[str, list[str]]


def lines_of(texts: Sequence[str]) -> list[str]:
    """The lines of texts: sentences, verses or paragraphs, as the corpus has them."""
    return [line for text in texts for line in text.splitlines() if line.strip()]


def corpus_texts(data: Data, codes: Sequence[str]) -> Texts:
    """Sentences of the languages' text; held out are those of the test split.

    Raises:
        BadInput: If a language has no text.
    """
    train: dict[str, list[str]] = {}
    heldout: dict[str, list[str]] = {}
    for source in find_sources(data.path, codes):
        split = split_rows(
            source.rows(data.reading), valid=data.valid_fraction, test=data.test_fraction, name=source.code
        )
        found: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        for row in split:
            found[row.split or "train"].append(row.text)
        if not found["train"]:
            raise BadInput(f"{source.code}: no training text. Rows say their split: some must be 'train'.")
        train[source.code] = lines_of(found["train"])
        heldout[source.code] = lines_of(found["test"] or found["valid"])[:_MOST_HELDOUT]
    return Texts(train, heldout)


def reduce_vocabulary(
    whole: Any, tokenizer: PreTrainedTokenizerBase, texts: Texts, *, min_count: int, unchanged: float
) -> Reduction:
    """Choose the pieces and renumber them; rows that the model's configuration names stay too."""
    table = table_of(tokenizer)
    chosen = chosen_pieces(
        fresh_backend(table),
        table,
        texts.train,
        embeddings_of(whole),
        min_count=min_count,
        unchanged=unchanged,
    )
    named = rows_named(whole)
    kept = sorted(index for index in chosen | named if index < num_rows(whole.config))
    new_ids = {old: new for new, old in enumerate(kept)}
    return Reduction(renumbered(table, new_ids), new_ids)


def compare(
    whole: Any,
    small: Any,
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    texts: Texts,
    reduction: Reduction,
) -> Comparison:
    """Compare the pruned model with the whole one on held-out sentences.

    Raises:
        BadInput: If they differ by more than 1e-5 in float32 on text that both read alike.
    """
    before, after = fresh_backend(table_of(old)), fresh_backend(table_of(new))
    total, same, rows = 0, 0, list[tuple[list[int], ...]]()
    for sentences in texts.heldout.values():
        found = same_rows(before, after, sentences, reduction.new_ids)
        total, same = total + len(sentences), same + len(found)
        rows += found[:_COMPARED]
    worst = largest_difference(whole, small, rows, reduction.kept) if rows else None
    if worst is not None and not worst <= _MOST_DIFFERENCE and whole.dtype.itemsize >= 4:
        raise BadInput(
            f"{type(whole).__name__}: pruned, it differs from the whole model by {worst:.1e} on text whose pieces are "
            "all kept, so its weights depend on the vocabulary in a way that is not known here."
        )
    return Comparison(total, same, worst)


def pruning(
    folder: object, texts: Texts, tokenizer: Any, reduction: Reduction, whole: Any, small: Any, comparison: Comparison
) -> Pruning:
    """The report of a pruned model."""
    return Pruning(
        folder=str(folder),
        languages=sorted(texts.train),
        pieces_before=len(pieces_of(table_of(tokenizer))),
        pieces=len(pieces_of(reduction.table)),
        rows_before=num_rows(whole.config),
        rows=len(reduction.new_ids),
        parameters_before=_size(whole),
        parameters=_size(small),
        comparison=comparison,
    )


def _size(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
