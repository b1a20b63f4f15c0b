"""The language that each document of a new text reads as: the named one, a related one, another, or unclear.

langid names one of its 97 languages for any text, and is always sure of it. Three things decide if that is evidence:

- If it knows the claimed language: by how much that language is less likely, in nats a byte. Rightly labelled Zulu
  (read as Xhosa) and Malay (as Indonesian) lose by 0.02 to 0.04; Spanish given as Portuguese by 0.87, Danish as
  Norwegian by 0.27.
- If it does not: by how much its answer leads all languages that are unrelated to it. Text of languages that it knows
  leads by 0.26 nats a byte and more, text of languages that it does not know by less. There are two exceptions: text in
  a script that the answer is not written in (Tifinagh reads as Malayalam), so the script is checked too, and a few
  languages like Yoruba (three in four documents read as Vietnamese).
- Whether the two languages are related: Asturian reads as Spanish because they are alike.

experiments/new_language/labels.py measures the result on 105 rightly and 2,206 wrongly labelled texts.
Shape letters: `B` documents, `C` classes of langid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import macrolanguage_of, match, same_language_key
from clustering.languages.points import code_of

Verdict = Literal["claimed", "related", "foreign", "unclear"]
_MOST_LETTERS = 2000
"""Number of letters of a document that are read; a longer one is judged by its beginning."""
_AGAINST = 0.1
"""Nats a byte by which the claimed language must lose to another for that to be evidence."""
_CLEAR = 0.25
"""Nats a byte by which an answer must lead all languages that are unrelated to it."""
_RELATED = 0.5
"""Genetic distance below which languages are related: Dutch and German are 0.40 apart, Swedish and German 0.57."""
_KIN = 0.6
"""Genetic distance below which a clear answer need not lead a language: Hindi and Marathi are 0.598 apart."""
_SURE = 0.9
"""Probability from which on the run's own identifier is believed."""
_ONE_SCRIPT = {"Hira": "Jpan", "Kana": "Jpan", "Hang": "Kore", "Hans": "Hani", "Hant": "Hani"}


@dataclass(frozen=True)
class DocumentReading:
    """The language that one document reads as."""

    verdict: Verdict
    code: str
    """Code of the language that it reads as, the claimed one or another; empty if that is unclear."""
    confidence: float
    """Probability of that language among all that were considered, 0 to 1."""


@dataclass(frozen=True)
class _Evidence:
    """The evidence for langid's answer to one document."""

    code: str
    confidence: float
    against: float
    """By how much the claimed language is less likely, in nats a byte; infinite where langid does not know it."""
    lead: float
    """Lead of the answer over all languages that are unrelated to it, in nats a byte."""
    fits_script: bool
    """Whether the answer is usually written in the text's script."""
    as_claimed: bool
    """Whether the claimed language is."""
    of_run: tuple[str, float]
    """The language that the run's own identifier is sure of, with its probability; empty if it is not sure."""


class LanguageReader:
    """Reads documents that are labelled with one language.

    Args:
        language: The claimed language's code.
        router: The run's router, whose identifier knows the run's languages; None without a run.
    """

    def __init__(self, language: str, router: Path | None = None) -> None:
        from router.identify.langid import LangidIdentifier
        from router.identify.stored import load_identifier

        self.language = code_of(language)
        self._langid = LangidIdentifier()
        self._classes = list(self._langid.languages)
        own = match(language, self._classes)
        self._own = None if own is None else self._classes.index(own)
        self._run = None if router is None else load_identifier(router)

    @property
    def knows_the_language(self) -> bool:
        """Whether langid knows the claimed language."""
        return self._own is not None

    def read(self, texts: Iterable[str]) -> list[DocumentReading]:
        """The readings of documents, in order. Documents with the same answer are judged together, by their medians."""
        evidence = [one for batch in _batches(iter(texts)) for one in self._evidence(batch)]
        groups: dict[str, list[_Evidence]] = {}
        for one in evidence:
            groups.setdefault(one.code, []).append(one)
        verdicts = {code: self._verdict(code, group) for code, group in groups.items()}
        return [self._reading(one, verdicts[one.code]) for one in evidence]

    def likeliest_of_run(self, texts: Sequence[str]) -> tuple[str, float]:
        """The language of the run that most documents are nearest to, sure or not, and their share."""
        assert self._run is not None
        best_B = self._run.posterior([text[:_MOST_LETTERS] for text in texts]).argmax(axis=1)
        column, count = Counter(best_B.tolist()).most_common(1)[0]
        return self._run.languages[column], count / len(texts)

    def _evidence(self, texts: list[str]) -> Iterator[_Evidence]:
        from router.letters import plain_letters

        cut = [text[:_MOST_LETTERS] for text in texts]
        scores_BC, lengths_B = self._langid.log_likelihoods(cut)
        scores_BC = scores_BC / np.maximum(lengths_B, 1)[:, None]
        posterior_BC, run = self._langid.posterior(cut), self._of_run(cut)
        for text, scores_C, posterior_C, of_run in zip(cut, scores_BC, posterior_BC, run, strict=True):
            top = int(scores_C.argmax())
            if not plain_letters(text):
                yield _Evidence("", 0.0, 0.0, 0.0, False, False, ("", 0.0))
                continue
            code = self.language if top == self._own else self._classes[top]
            against = np.inf if self._own is None else float(scores_C[top] - scores_C[self._own])
            lead = float(scores_C[top] - scores_C[_no_relatives(top)].max())
            scripts = _fits_script(text, code), _fits_script(text, self.language)
            yield _Evidence(code, float(posterior_C[top]), against, lead, *scripts, of_run)

    def _verdict(self, code: str, group: list[_Evidence]) -> Verdict:
        if code in ("", self.language):
            return "claimed" if code else "unclear"
        if median(one.against for one in group) < _AGAINST:
            return "related"
        if median(one.lead for one in group) < _CLEAR or 2 * sum(one.fits_script for one in group) < len(group):
            return "unclear"
        # langid knows a language in its usual script alone: it takes Latin Serbian for Croatian, or Bosnian.
        in_another_script = 2 * sum(one.as_claimed for one in group) < len(group)
        if in_another_script and _of_one_macrolanguage(self.language, code):
            return "related"
        return "foreign" if self._own is not None or not related(self.language, code) else "related"

    def _reading(self, one: _Evidence, verdict: Verdict) -> DocumentReading:
        if verdict == "unclear" and one.of_run[0]:
            near = related(self.language, one.of_run[0])
            return DocumentReading("related" if near else "foreign", *one.of_run)
        return DocumentReading(verdict, "" if verdict == "unclear" else one.code, one.confidence)

    def _of_run(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The language of the run that each text surely is, with its probability; empty where it is surely none."""
        if self._run is None:
            return [("", 0.0)] * len(texts)
        posterior_BL, familiarity_B = self._run.identify(texts)
        sure_B = posterior_BL.max(axis=1) * familiarity_B
        best_B = posterior_BL.argmax(axis=1)
        return [
            (self._run.languages[best], float(sure)) if sure > _SURE else ("", 0.0)
            for best, sure in zip(best_B, sure_B, strict=True)
        ]


def related(language: str, other: str, below: float = _RELATED) -> bool:
    """Whether two languages are near enough to be confused; languages of unknown relation count as related.

    Args:
        language: A code.
        other: Another.
        below: Genetic distance from which on they are unrelated.
    """
    language, other = code_of(language), code_of(other)
    if _of_one_macrolanguage(language, other):
        return True
    distance = _genetic(language, other)
    return distance is None or distance < below


def _of_one_macrolanguage(language: str, other: str) -> bool:
    """Whether two languages are one by some name, or members of one macrolanguage."""
    codes = code_of(language), code_of(other)
    one, two = ({same_language_key(code), macrolanguage_of(code) or code} for code in codes)
    return bool(one & two)


@lru_cache(maxsize=8192)
def _genetic(language: str, other: str) -> float | None:
    from clustering import distances_from

    try:
        return float(distances_from(language, ("genetic",), [other]).values["genetic"][0])
    except BadInput:  # one of the two is not in URIEL
        return None


@lru_cache(maxsize=128)
def _no_relatives(column: int) -> list[int]:
    """Columns of langid's languages that are unrelated to that of a column."""
    from router.identify.langid_arrays import load_langid

    classes = load_langid().classes
    return [other for other, code in enumerate(classes) if other != column and not related(classes[column], code, _KIN)]


def _fits_script(text: str, code: str) -> bool:
    """Whether a language is usually written in the script that most letters of a text belong to."""
    import langcodes
    from fontTools.unicodedata import script

    counts = Counter(script(char) for char in text[:500] if char.isalpha())
    usual = langcodes.Language.get(code).maximize().script
    most = counts.most_common(1)[0][0]
    if usual == "Jpan":
        return most in ("Hira", "Kana", "Hani")
    return bool(_ONE_SCRIPT.get(most, most) == _ONE_SCRIPT.get(str(usual), usual))


def _batches(texts: Iterator[str], size: int = 256) -> Iterator[list[str]]:
    while batch := list(islice(texts, size)):
        yield batch
