"""The token store: each language tokenised once into flat files that every expert reads as a memory map."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from clustering.corpora.find import Source
from clustering.corpora.rows import Row
from clustering.errors import BadInput
from clustering.files import atomic_write, read_json, remove, write_json
from xelm.corpus.intact import is_sealed, seal
from xelm.corpus.splits import split_rows
from xelm.corpus.store_check import HELDOUT, store_damage
from xelm.corpus.tokens.elsewhere import NOT_SEVERAL
from xelm.corpus.tokens.encoder import Encoded, Encoder, boundary_tokens, tokenise
from xelm.corpus.tokens.shards import encoded
from xelm.recipe.recipe import Data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from xelm.aligning.pairs import Pair

_BATCH = 256
_SPAN = 1 << 22
"""Tokens looked at together: a store is a memory map, and may be larger than the memory."""
_ANSWERS = "answers.npy"
T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass
class LanguageCounts:
    """Counts of the text that was read for one language."""

    documents: int = 0
    bytes: int = 0
    """UTF-8 bytes of the training text."""
    tokens: int = 0
    duplicates: int = 0
    """Documents that were skipped because the same text came before, in training text or in another split."""
    skipped_lines: int = 0


@dataclass(frozen=True)
class TokenStore:
    """The stored tokens of one language.

    `tokens` (N,): training documents one after another, each begun by the tokenizer's BOS (or EOS) and closed by
    its EOS. `starts` (D,): indices at which the documents begin, ascending.
    """

    code: str
    tokens: np.ndarray
    starts: np.ndarray
    counts: LanguageCounts
    heldout_file: Path
    """Held-out documents, one JSON object a line: `id`, `split`, `text`."""
    whole: bool = False
    """Whether a document must be whole in some block, where it fits into one: pairs and instructions must."""
    answers: np.ndarray | None = None
    """(D,): of instructions, how many tokens of each document stand before its answer, which alone is learnt."""

    def pieces(self) -> frozenset[int]:
        """The pieces of the vocabulary that the text has."""
        found = set[int]()
        for start in range(0, len(self.tokens), _SPAN):
            found.update(np.unique(self.tokens[start : start + _SPAN]).tolist())
        return frozenset(found)


def training_texts(source: Source, data: Data) -> Iterator[str]:
    """The training documents of a language, as text."""
    skipped: list[str] = []
    rows = source.rows(data.reading, skipped if data.on_bad_line == "skip" else None)
    split = split_rows(rows, valid=data.valid_fraction, test=data.test_fraction, name=source.code)
    return (row.text for row in split if row.split == "train")


def open_store(folder: Path, code: str) -> TokenStore:
    """Open what `build_store` wrote.

    Raises:
        BadInput: If it is no longer intact.
    """
    problem = store_damage(folder)
    if problem:
        raise BadInput(
            f"{folder}: the tokenised text is damaged: {problem}. Remove the folder and run `xelm train` again, which "
            "makes it again."
        )
    info = read_json(folder / "counts.json")
    tokens = np.memmap(folder / "tokens.bin", dtype=info["dtype"], mode="r")
    starts, counts = np.load(folder / "starts.npy"), LanguageCounts(**info["counts"])
    answers = np.load(folder / _ANSWERS) if (folder / _ANSWERS).is_file() else None
    return TokenStore(code, tokens, starts, counts, folder / HELDOUT, bool(info.get("whole")), answers)


def heldout_texts(store: TokenStore, split: str | None = None) -> list[str]:
    """The held-out documents of a language, of one split or of both."""
    return [row.text for row in _heldout_rows(store, split)]


def _heldout_rows(store: TokenStore, split: str | None) -> list[Row]:
    # Not `splitlines`: a document may hold other line separators.
    rows = [json.loads(line) for line in store.heldout_file.read_text(encoding="utf-8").split("\n") if line]
    return [Row(row["text"], answer_at=row.get("answer_at")) for row in rows if split in (None, row["split"])]


def heldout_store(store: TokenStore, split: str, tokenizer: PreTrainedTokenizerBase) -> TokenStore:
    """The held-out documents of one split as a store in memory."""
    documents = list(tokenise(_heldout_rows(store, split), tokenizer))
    starts = np.cumsum([0, *(len(ids) for ids, _ in documents)])[:-1]
    tokens = np.array([token for ids, _ in documents for token in ids], dtype=store.tokens.dtype)
    counts = LanguageCounts(documents=len(documents))
    answers = None if store.answers is None else np.array([number for _, number in documents], dtype=np.int64)
    return TokenStore(store.code, tokens, starts, counts, store.heldout_file, answers is not None, answers)


def build_store(
    folder: Path,
    source: Source,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    *,
    vocab_size: int,
    pairs: Sequence[Pair] = (),
    num_processes: int = 1,
) -> TokenStore:
    """Read, split, deduplicate and tokenise a language's text into `folder`, which appears complete or not at all.

    Held-out documents go to `heldout.jsonl` beside the tokens, at most `data.heldout_bytes` a split. What is there
    already is kept if it is intact, and made again if not. After the text come `pairs`, each as one document of two
    sides, both begun and closed as a document is. With several processes this one reads and the others tokenise, which
    changes no byte; where they cannot be had, it does all.

    Raises:
        BadInput: For lines that cannot be read (unless the recipe skips them) and text with no training tokens.
    """
    before = boundary_tokens(tokenizer)[0]
    problem = store_damage(folder, vocab_size, *before) if folder.is_dir() else "it is not there"
    if problem:
        if folder.is_dir():
            logger.warning("%s: the tokenised text is damaged: %s. It is made again.", folder, problem)
        with atomic_write(folder) as partial:
            dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
            try:
                _write_store(partial, source, data, tokenizer, dtype, pairs, num_processes)
            except BrokenProcessPool as error:
                logger.warning(NOT_SEVERAL, error)
                remove(partial)
                _write_store(partial, source, data, tokenizer, dtype, pairs, 1)
            seal(partial)
    elif not is_sealed(folder):
        seal(folder)
    return open_store(folder, source.code)


def _write_store(
    folder: Path,
    source: Source,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    dtype: type[np.unsignedinteger[Any]],
    pairs: Sequence[Pair],
    num_processes: int,
) -> None:
    folder.mkdir()
    counts, skipped, starts, answers = LanguageCounts(), list[str](), list[int](), list[int]()
    rows = source.rows(data.reading, skipped if data.on_bad_line == "skip" else None)
    split = split_rows(rows, valid=data.valid_fraction, test=data.test_fraction, name=source.code)
    heldout = _HeldOut(data.heldout_bytes)
    train = _batches(_train_rows(split, heldout, counts))
    with (
        (folder / "tokens.bin").open("wb") as out,
        encoded(train, tokenizer, dtype, num_processes) as texts,
    ):
        sides = (_pairs(Encoder(tokenizer, dtype), batch, counts) for batch in _batches(pairs))
        for ids, before_answer in itertools.chain.from_iterable(itertools.chain(texts, sides)):
            starts.append(counts.tokens)
            answers.append(before_answer)
            counts.tokens += len(ids) // np.dtype(dtype).itemsize
            out.write(ids)
    counts.skipped_lines = len(skipped)
    if skipped:
        logger.warning("%s: %d bad line(s) skipped, the first: %s", source.code, len(skipped), skipped[0])
    if not counts.tokens:
        raise BadInput(f"{source.code}: no training text. Rows say their split: some must be 'train'.")
    np.save(folder / "starts.npy", np.asarray(starts, dtype=np.int64))
    heldout.write(folder / HELDOUT)
    if any(answers):
        np.save(folder / _ANSWERS, np.asarray(answers, dtype=np.int64))
    whole = {"whole": True} if pairs or any(answers) else {}
    write_json(folder / "counts.json", {"dtype": np.dtype(dtype).name, "counts": asdict(counts), **whole})


def _train_rows(rows: Iterable[Row], heldout: _HeldOut, counts: LanguageCounts) -> Iterator[Row]:
    trained, held = set[int](), set[int]()
    for row in rows:
        key = hash(row.text)
        if key in trained or (row.split == "train" and key in held):
            counts.duplicates += 1
            continue
        if row.split != "train":
            held.add(key)
            heldout.add(row)
            continue
        trained.add(key)
        counts.documents += 1
        counts.bytes += len(row.text.encode())
        yield row


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def _pairs(encode: Encoder, pairs: list[Pair], counts: LanguageCounts) -> Iterator[Encoded]:
    sides = ([Row(getattr(pair, side)) for pair in pairs] for side in ("text", "pivot"))
    texts, pivots = (encode.documents(rows) for rows in sides)
    for pair, (ids, _), (pivot_ids, _) in zip(pairs, texts, pivots, strict=True):
        counts.documents += 1
        counts.bytes += len(pair.text.encode()) + len(pair.pivot.encode())
        yield ids + pivot_ids, 0


class _HeldOut:
    """Held-out documents of a language, up to a number of bytes for each split."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.rows: list[Row] = []
        self.used_bytes = {"valid": 0, "test": 0}

    def add(self, row: Row) -> None:
        split = row.split or ""
        room = self.limit_bytes - self.used_bytes[split]
        if room <= 0:
            return
        text = row.text.encode()[:room].decode("utf-8", errors="ignore")
        self.used_bytes[split] += len(text.encode())
        if text.strip() and len(text) > (row.answer_at or 0):
            self.rows.append(Row(text, split, row.id, answer_at=row.answer_at))

    def write(self, path: Path) -> None:
        rows = [{"id": r.id, "split": r.split, "text": r.text, **_answer_of(r)} for r in self.rows]
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _answer_of(row: Row) -> dict[str, int]:
    return {} if row.answer_at is None else {"answer_at": row.answer_at}
