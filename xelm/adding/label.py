"""Check that a new text is in the language that the user named, by the language that each document reads as."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from clustering.corpora.find import Source
from clustering.corpora.rows import Reading, Row
from clustering.errors import BadInput, arg
from clustering.files import sha256_of
from clustering.languages.codes import match, name_of
from xelm.adding.languages_read import DocumentReading, LanguageReader, Verdict, related
from xelm.evaluation.log_probs import heldout_log_probs, measure
from xelm.run.experts import Document, ExpertSet
from xelm.run.records.ledger import LanguageRead

_OTHER_LANGUAGE = 0.9
"""Share of documents that read as one other language, from which on the user's label is not believed."""
_REPORTED = 0.02
"""Share of documents in other languages from which on they are reported."""
_SAMPLE_BYTES, _MOST_LETTERS = 20_000, 2_000
_AS_ITS_OWN = 0.2
"""An expert's loss on the new text, on a scale from its loss on its own language (0) to that on languages that it does
not know (1). Below this value, the expert reads the text as its own language."""
_TELLS_APART = 1.15
"""An expert's loss on other languages must be so many times that on its own, or the comparison decides nothing."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextLanguages:
    """The languages that the documents of a text read as."""

    language: str
    readings: list[DocumentReading]

    @property
    def table(self) -> list[LanguageRead]:
        """A line for each language that was read, those with most documents first."""
        groups: dict[tuple[str, Verdict], list[float]] = {}
        for one in self.readings:
            groups.setdefault((one.code, one.verdict), []).append(one.confidence)
        lines = [
            LanguageRead(code, verdict, len(confidences), sum(confidences) / len(confidences))
            for (code, verdict), confidences in groups.items()
        ]
        return sorted(lines, key=lambda line: (-line.documents, line.language, line.verdict))

    def most(self, verdict: str) -> tuple[str, int]:
        """The language of most documents with this verdict, and their number; ("", 0) if there are none."""
        lines = [line for line in self.table if line.verdict == verdict]
        return (lines[0].language, lines[0].documents) if lines else ("", 0)

    def number(self, verdict: str) -> int:
        """Number of documents with this verdict."""
        return sum(one.verdict == verdict for one in self.readings)


@dataclass(frozen=True)
class CleanedSource(Source):
    """A source without some of its documents."""

    dropped: frozenset[int] = frozenset()
    """Numbers of the dropped documents, from 0 in their order."""

    def rows(self, reading: Reading | None = None, skipped: list[str] | None = None) -> Iterator[Row]:
        """The rows of the source without those of dropped documents."""
        return (row for number, row in enumerate(super().rows(reading, skipped)) if number not in self.dropped)

    def fingerprint(self, sha256: Callable[[Path], str] = sha256_of) -> str:
        """A fingerprint that changes with the text and with the dropped documents."""
        whole = super().fingerprint(sha256)
        return hashlib.sha256(f"{whole}-{sorted(self.dropped)}".encode()).hexdigest() if self.dropped else whole


def read_languages(experts: ExpertSet, source: Source, reading: Reading, *, skip: bool) -> TextLanguages:
    """Read the language of every document of a new text.

    Args:
        experts: The run; its identifier knows its languages.
        source: The text, with the language that the user named.
        reading: How rows are read.
        skip: Whether bad rows are skipped.
    """
    reader = LanguageReader(source.code, experts.files.router)
    texts = (row.text for row in source.rows(reading, [] if skip else None))
    return TextLanguages(source.code, reader.read(texts))


def without_others(source: Source, found: TextLanguages) -> Source:
    """The source without the documents that read as other languages.

    Raises:
        BadInput: If no document is left.
    """
    dropped = frozenset(number for number, one in enumerate(found.readings) if one.verdict == "foreign")
    if len(dropped) == len(found.readings):
        code, count = found.most("foreign")
        raise BadInput(
            f"Every one of the {len(dropped)} documents looks like another language than {name_of(found.language)}, "
            f"{count} of them like {name_of(code)} ({code}): nothing is left to add."
        )
    return CleanedSource(source.code, source.files, source.hub, dropped) if dropped else source


def refuse_other_language(experts: ExpertSet, source: Source, reading: Reading, found: TextLanguages) -> None:
    """Stop where the text is plainly another language than said.

    Raises:
        BadInput: If nine in ten documents read as one other language, or the run's own expert of a related language
            reads them as its own.
    """
    total, needed = len(found.readings), math.ceil(_OTHER_LANGUAGE * len(found.readings))
    code, _ = found.most("foreign")
    # Some documents of one language read as a related one, so only all documents together are evidence.
    count = sum(line.documents for line in found.table if line.verdict == "foreign" and related(code, line.language))
    if count >= needed:
        raise BadInput(_refusal(experts, found.language, code, f"in {count} of {total} documents"))
    texts = _sample(row.text for row in source.rows(reading, []))
    code = _suspect(experts, found, texts, needed)
    if code and _reads_as_its_own(experts, code, texts):
        raise BadInput(_refusal(experts, found.language, code, "to the run's own expert of it"))


def report_languages(found: TextLanguages, dropped: int) -> None:
    """Report the languages that the documents read as, unless all read as the language that the user named."""
    total, name = len(found.readings), f"{name_of(found.language)} ({found.language})"
    if found.number("claimed") == total:
        return
    lines = ", ".join(
        f"{line.documents} {f'{name_of(line.language)} ({line.language})' if line.language else 'unclear'}"
        + (f" with confidence {line.confidence:.2f}" if line.language else "")
        for line in found.table
    )
    logger.info("the %d documents given as %s read as: %s", total, name, lines)
    foreign, (near, count) = found.number("foreign"), found.most("related")
    if dropped:
        logger.warning("%d of %d documents look like other languages than %s and are left out.", dropped, total, name)
    elif foreign >= max(1, _REPORTED * total):
        others = [line for line in found.table if line.verdict == "foreign"]
        found_languages = ", ".join(f"{name_of(line.language)} ({line.language}) {line.documents}" for line in others)
        logger.warning(
            "%d of %d documents look like other languages than %s: %s. The option that leaves "
            "them out is called drop_other_languages.",
            foreign,
            total,
            name,
            found_languages,
        )
    if 2 * count >= total:
        logger.warning(
            "%d of %d documents look like %s (%s), a relative of %s: the two are easily confused, so they "
            "are added as %s. Make sure that this is right.",
            count,
            total,
            name_of(near),
            near,
            name,
            name_of(found.language),
        )


def _refusal(experts: ExpertSet, language: str, code: str, where: str) -> str:
    said, read = name_of(language), f"{name_of(code)} ({code})"
    there = f"; {name_of(code)} is already in this run" if code in experts.languages else ""
    return f"The text looks like {read} {where}, not {said}{there}. If it is {said}, add {arg('believe_label', True)}."


def _suspect(experts: ExpertSet, found: TextLanguages, texts: Sequence[str], needed: int) -> str:
    """A language of the run that the text may be in, if identification alone cannot decide; empty if there is none."""
    code, count = found.most("related")
    if count >= needed:
        return match(code, experts.languages) or ""
    reader = LanguageReader(found.language, experts.files.router)
    if reader.knows_the_language or not texts:
        return ""
    code, share = reader.likeliest_of_run(texts)
    return code if share >= _OTHER_LANGUAGE else ""


def _reads_as_its_own(experts: ExpertSet, code: str, texts: Sequence[str]) -> bool:
    """Whether the run's expert of a language finds texts as probable as its own language, and far more than others."""
    name = experts.plan.cluster_of(code)
    split = "valid" if experts.heldout("valid") else "test"
    losses: dict[str, list[float]] = {}
    for document, log_probs_T in zip(
        experts.heldout(split), heldout_log_probs(experts, name, split, keep=False), strict=True
    ):
        losses.setdefault(document.language, []).append(_bits(document.text, float(log_probs_T.sum(dtype="float64"))))
    strangers = [median(bits) for other, bits in losses.items() if other not in experts.plan.clusters[name]]
    if code not in losses or not strangers:
        return False
    own, foreign = median(losses[code]), median(strangers)
    if foreign < _TELLS_APART * own:
        return False
    sample = [Document(code, text) for text in texts]
    log_probs = measure(experts, experts.load_model(name), sample, name)
    new = median(_bits(d.text, float(p_T.sum(dtype="float64"))) for d, p_T in zip(sample, log_probs, strict=True))
    logger.info(
        "%s reads the text with %.3f bits a byte, %s with %.3f, others with %.3f", name, new, code, own, foreign
    )
    return (new - own) / (foreign - own) < _AS_ITS_OWN


def _bits(text: str, log_probability: float) -> float:
    return -log_probability / math.log(2) / max(1, len(text.encode()))


def _sample(texts: Iterator[str]) -> list[str]:
    sample, room = [], _SAMPLE_BYTES
    for text in islice(texts, 200):
        piece = text[:_MOST_LETTERS]
        sample.append(piece)
        room -= len(piece.encode())
        if room <= 0:
            break
    return sample
