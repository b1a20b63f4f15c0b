"""What the columns of a user's table of transfer results hold, by their headings."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from clustering.distances.uriel import BASE_KINDS
from clustering.errors import BadInput
from clustering.sources.signals import SIGNALS

log = logging.getLogger(__name__)

# First match wins. "Source" alone means the helping language, unless another column already does (LangRank's
# translation table: `Target lang` is always English, `Source lang` is helped by `Transfer lang`).
_SOURCE_WORDS = ("transfer", "aux", "auxiliary", "donor", "source", "src", "train")
_TARGET_WORDS = ("task", "target", "tgt", "test", "source", "src", "lang", "language")
_SCORE_WORDS = (
    *("score", "accuracy", "acc", "bleu", "chrf", "comet", "f1", "las", "uas", "ndcg", "map", "mrr", "em"),
    *("rouge", "spearman", "pearson", "performance", "result", "value"),
)
ERROR_WORDS = ("perplexity", "ppl", "loss", "error", "wer", "cer", "ter", "bpb", "bits", "nll")
_TASK_WORDS = ("task", "dataset", "benchmark")
_ENTITY_WORDS = {"lang", "language", "code", "iso", "name"}
_STANDING = re.compile(r"\b(rank|relevance|percentile|quantile)\b")
_CANONICAL = (
    (r"subword|sub word|bpe|piece", r"overlap", "subword_overlap"),
    (r"", r"overlap", "word_overlap"),
    (r"ratio", r"size", "size_ratio"),
    (r"transfer|aux|source|src|donor|train", r"size|sentences|tokens|lines", "source_size"),
    (r"target|task|tgt", r"size|sentences|tokens|lines", "target_size"),
    (r"distance|diff", r"ttr|type token", "ttr_distance"),
    (r"transfer|aux|source|src|donor|train", r"ttr|type token", "source_ttr"),
    (r"target|task|tgt", r"ttr|type token", "target_ttr"),
)
_BARE = ((r"", r"\b(size|sentences|tokens|lines|words)\b", "source_size"), (r"", r"ttr|type token", "source_ttr"))
# URIEL's distances in a table are replaced by ours, which rank better (DESIGN: 63.0/50.9 against 59.2/40.1).
_TYPOLOGY = re.compile(r"^(genetic|syntactic|featural|phonological|inventory|geographic)( \d+)?$")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a heading, in small letters."""
    return tuple(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())


def task_column(header: Sequence[str], words: dict[str, tuple[str, ...]]) -> str | None:
    """The heading of the column that names the task; `task` alone may mean the target, where nothing else does."""
    named = [name for name in header if len(words[name]) == 1 and words[name][0] in _TASK_WORDS]
    others = {word for name in header for word in words[name] if name not in named}
    return named[0] if named and others & {"target", "tgt", "test"} else None


def columns_of(
    file: Path, header: list[str], rows: list[list[str]], words: dict[str, tuple[str, ...]], score_column: str | None
) -> tuple[dict[str, str], bool]:
    """Headings of target, source and score, and whether a low score is a good one."""
    source = _pick(header, rows, words, _SOURCE_WORDS, ())
    target = _pick(header, rows, words, _TARGET_WORDS, (source,))
    score, is_error = _score(file, header, words, (source, target), score_column)
    found = {"target": target, "source": source, "score": score}
    if missing := [what for what, heading in found.items() if heading is None]:
        raise BadInput(
            f"{file}: no column for {', '.join(missing)} (found: {', '.join(header)}). "
            "Name the columns target, source, score."
        )
    return {what: heading for what, heading in found.items() if heading is not None}, is_error


def _pick(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    words: dict[str, tuple[str, ...]],
    wanted: Iterable[str],
    taken: Sequence[str | None],
) -> str | None:
    """The first heading that says it holds languages of this role and holds more than one."""
    for word in wanted:
        for name in header:
            others = set(words[name]) - {word} - _ENTITY_WORDS
            if name in taken or word not in words[name] or others:
                continue
            if len({row[header.index(name)] for row in rows}) > 1:
                return name
    return None


def pick_score(
    header: Sequence[str], words: dict[str, tuple[str, ...]], taken: Sequence[str | None]
) -> tuple[str | None, bool]:
    """The first heading that is called as scores are, the good ones first, and whether a low score is a good one."""
    for wanted, is_error in ((_SCORE_WORDS, False), (ERROR_WORDS, True)):
        for word in wanted:
            for name in header:
                if name not in taken and word in words[name] and not _STANDING.search(" ".join(words[name])):
                    return name, is_error
    return None, False


def feature_name(name: str, words: tuple[str, ...], keep_distances: bool) -> str | None:
    """The name of a column among the features; None for a rank or what xelm measures itself, which is logged."""
    text = " ".join(words)
    if keep_distances and text in BASE_KINDS:
        return f"table_{text}"
    if _STANDING.search(text) or _TYPOLOGY.match(text):
        log.info("column %r left out: %s", name, "a rank" if _STANDING.search(text) else "xelm measures it itself")
        return None
    for first, second, canonical in _CANONICAL:
        if re.search(first, text) and re.search(second, text):
            return canonical
    return name


def signal_in_heading(heading: str) -> str:
    """The signal that a column of numbers on sources holds by its heading; the heading itself if it is none of ours."""
    name = heading.strip()
    text = " ".join(words_of(name))
    if text.replace(" ", "_") in SIGNALS:
        return text.replace(" ", "_")
    for first, second, canonical in (*_CANONICAL, *_BARE):
        if re.search(first, text) and re.search(second, text):
            return canonical
    return name


def _score(
    file: Path,
    header: Sequence[str],
    words: dict[str, tuple[str, ...]],
    taken: Sequence[str | None],
    wanted: str | None,
) -> tuple[str | None, bool]:
    """Heading of the score, and whether it is a loss."""
    if wanted is None:
        score, is_error = pick_score(header, words, taken)
        others = [
            name
            for name in header
            if name not in (*taken, score) and "level" not in words[name] and pick_score([name], words, ())[0]
        ]
        if score is not None and others:
            log.warning(
                "%s: the score is %r; %s could be it too: name the one", file, score, ", ".join(map(repr, others))
            )
        return score, is_error
    if wanted not in header or wanted in taken:
        raise BadInput(f"{file}: no column {wanted!r} for the score (found: {', '.join(header)}).")
    return wanted, bool(set(words[wanted]) & set(ERROR_WORDS))
