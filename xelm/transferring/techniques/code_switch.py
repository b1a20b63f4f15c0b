"""Code-switching: words of the sources' rows are replaced by their translations in the target (Qin et al. 2020)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from xelm.recipe.parsing import check
from xelm.transferring.cells import Cell
from xelm.transferring.data.examples import Example
from xelm.transferring.dictionaries.dictionary import Dictionary
from xelm.transferring.dictionaries.find import find_dictionary, open_dictionary
from xelm.transferring.techniques.technique import Lab, Technique, technique

_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


@technique
@dataclass(frozen=True, kw_only=True)
class CodeSwitch(Technique):
    """Rows of the sources, and the same with words of the target in them."""

    kind: str = "code-switch"
    dictionary: str
    """A file, or a folder of files called by both languages: FreeDict (`freedict-eng-deu.index`), `.csv`, `.tsv`, or
    MUSE's `.txt`."""
    rate: float = 1.0
    """Share of the words with a translation that are replaced."""
    phrase: int = 3
    """Most words of a phrase that is looked up as a whole; 1: single words alone."""
    lose_letters: int = 0
    """How many letters at its end a word may lose to be found; 0 looks up the word as it stands."""
    choose: Literal["first", "random"] = "first"
    """Which of several translations is taken."""
    copies: int = 1
    """How many times each row is switched, each time with other words if the rate is below 1."""
    keep: bool = True
    """Whether the rows as they are teach too."""

    paths = ("dictionary",)

    def __post_init__(self) -> None:
        check(0 < self.rate <= 1, f"[[augment]] rate = {self.rate}: a share above 0 and at most 1.")
        for name in ("phrase", "copies"):
            check(getattr(self, name) >= 1, f"[[augment]] {name} = {getattr(self, name)} must be at least 1.")
        check(self.lose_letters >= 0, f"[[augment]] lose_letters = {self.lose_letters} must be at least 0.")

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        found = [code for code in cell.languages if find_dictionary(self.dictionary, code, cell.target)]
        return None if found else "no dictionary for these languages"

    def training(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        made = []
        found, words = 0, 0
        for row in rows:
            file = find_dictionary(self.dictionary, row.language, cell.target) if row.language != cell.target else None
            if file is None:
                continue
            lexicon = open_dictionary(file, row.language, cell.target)
            for copy in range(self.copies):
                rng = random.Random(repr(cell.rng_key(copy, row.id, row.content)))
                switched, replaced, number = self.switch(row, lexicon, rng)
                found, words = found + replaced, words + number
                made.append(switched)
        if words:
            pair = f"{', '.join(cell.languages)} to {cell.target}"
            lab.note(f"{self.label}, {pair}: {100 * found / words:.0f} % of the words replaced")
        return [*(rows if self.keep else [row for row in rows if row.language == cell.target]), *made]

    def switch(self, row: Example, lexicon: Dictionary, rng: random.Random) -> tuple[Example, int, int]:
        """A row with words replaced, how many were, and how many it has."""
        if row.tokens is not None:
            tokens, found = [], 0
            for word in row.tokens:
                new = self._translation([word], lexicon, rng, single=True)
                found += new is not None
                tokens.append(new or word)
            return replace(row, text=" ".join(tokens), tokens=tuple(tokens), made_by=self.label), found, len(tokens)
        text, found, words = self._text(row.text, lexicon, rng)
        second = row.second
        if second is not None:
            second, more, others = self._text(second, lexicon, rng)
            found, words = found + more, words + others
        return replace(row, text=text, second=second, made_by=self.label), found, words

    def _text(self, text: str, lexicon: Dictionary, rng: random.Random) -> tuple[str, int, int]:
        spans = [(match.start(), match.end()) for match in _WORD.finditer(text)]
        parts, end, found = [], 0, 0
        for first, number, new in self._replacements(text, spans, lexicon, rng):
            begin = spans[first][0]
            parts += [text[end:begin], new]
            end = spans[first + number - 1][1]
            found += number
        return "".join([*parts, text[end:]]), found, len(spans)

    def _replacements(
        self, text: str, spans: Sequence[tuple[int, int]], lexicon: Dictionary, rng: random.Random
    ) -> Iterator[tuple[int, int, str]]:
        """First word, number of words and translation of what is replaced: longest phrases first, left to right."""
        place = 0
        while place < len(spans):
            taken = 1
            for number in range(min(self.phrase, len(spans) - place), 0, -1):
                words = [text[begin:end] for begin, end in spans[place : place + number]]
                new = self._translation(words, lexicon, rng, single=False)
                if new is not None:
                    yield place, number, new
                    taken = number
                    break
            place += taken

    def _translation(
        self, words: Sequence[str], lexicon: Dictionary, rng: random.Random, *, single: bool
    ) -> str | None:
        """The translation to put in; None to leave the words. With `single`, only one word for one."""
        phrase = " ".join(words).lower()
        forms = [
            phrase[: len(phrase) - lost] for lost in range(self.lose_letters + 1) if len(phrase) - lost >= 3 or not lost
        ]
        known = next((given for form in forms if (given := lexicon.find(form))), ())
        options = [text for text in known if not single or " " not in text]
        if not options or (self.rate < 1 and rng.random() >= self.rate):
            return None
        new = options[0] if self.choose == "first" else rng.choice(options)
        return new[:1].upper() + new[1:] if words[0][:1].isupper() else new
