"""The file of templates: for each language a text with a gap, and the words of the labels (Schick & Schütze 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import expanded, sha256_of
from clustering.languages.codes import match, to_code
from xelm.objectives.cloze import Cloze
from xelm.recipe.parsing import read_toml
from xelm.transferring.data.examples import Example

_FALLBACK = "fallback"
_PLACES = re.compile(r"\{(text|second|label)\}")


@dataclass(frozen=True)
class Templates:
    """Templates of one language.

    Attributes:
        texts: Texts with `{text}` (and `{second}` for pairs) and `{label}`, of which the scores' mean counts.
        words: Label -> the word that stands for it.
    """

    texts: tuple[str, ...]
    words: Mapping[str, str]

    def clozes(self, row: Example, label: str) -> list[Cloze]:
        """The filled templates of a row and a label."""
        found = []
        for text in self.texts:
            before, after = text.split("{label}")
            found.append(Cloze(_filled(before, row), self.words[label], _filled(after, row)))
        return found


@dataclass(frozen=True)
class TemplateFile:
    """The templates of all languages."""

    path: str
    by_language: Mapping[str, Templates]
    fallback: str | None
    """The language whose templates ask where a language has none."""

    @classmethod
    def read(cls, path: str) -> TemplateFile:
        """Read a TOML file: a table for each language with `template` (one or several) and `labels`.

        Raises:
            BadInput: If it is missing or no such file.
        """
        file = expanded(path)
        table = read_toml(file, missing="no such file of templates", invalid="not valid TOML")
        fallback = table.pop(_FALLBACK, None)
        found = {to_code(name): _templates(value, f"{file}, [{name}]") for name, value in table.items()}
        if not found:
            raise BadInput(f"{file}: no templates. Add a table for each language, such as [eng].")
        code = None if fallback is None else match(str(fallback), found)
        if fallback is not None and code is None:
            raise BadInput(f"{file}: fallback = {fallback!r} has no table. There are: {', '.join(sorted(found))}.")
        return cls(str(file), found, code)

    @property
    def key(self) -> str:
        """A fingerprint of the file."""
        return sha256_of(Path(self.path))

    def of(self, language: str, labels: Sequence[str], *, is_pair: bool) -> Templates:
        """The templates that ask in a language.

        Raises:
            BadInput: If there are none, a label has no word, or the second text of a pair has no place.
        """
        code = match(language, self.by_language) or self.fallback
        if code is None:
            raise BadInput(
                f"{self.path}: no templates for {language}. Add a table [{language}], or name a language whose "
                f'templates ask in its place: fallback = "{next(iter(self.by_language))}".'
            )
        templates = self.by_language[code]
        if missing := [label for label in labels if label not in templates.words]:
            raise BadInput(f"{self.path}, [{code}.labels]: no word for {', '.join(missing)}.")
        if any(is_pair != ("{second}" in text) for text in templates.texts):
            words = (
                "lacks {second}, where the second text of a pair stands" if is_pair else "has {second}: no pairs here"
            )
            raise BadInput(f"{self.path}, [{code}]: a template {words}.")
        return templates


def _templates(value: Any, where: str) -> Templates:
    if not isinstance(value, dict) or set(value) - {"template", "labels"}:
        raise BadInput(f"{where}: a table with template and [labels] is expected.")
    given, labels = value.get("template"), value.get("labels")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadInput(f"{where}: template is a text, or a list of texts, with {{text}} and {{label}}.")
    for text in texts:
        places = _PLACES.findall(text)
        if places.count("label") != 1 or places.count("text") != 1 or places.count("second") > 1:
            raise BadInput(f"{where}: the template {text!r} needs {{text}} and {{label}}, once each.")
    if not isinstance(labels, dict) or not all(isinstance(word, str) and word.strip() for word in labels.values()):
        raise BadInput(f"{where}: labels is a table from each label to a word.")
    if len(set(labels.values())) < len(labels):
        raise BadInput(f"{where}: two labels have the same word, so no answer could tell them apart.")
    return Templates(tuple(texts), {str(label): word for label, word in labels.items()})


def _filled(text: str, row: Example) -> str:
    given = {"text": row.text, "second": row.second or ""}
    return _PLACES.sub(lambda found: given[found[1]], text)
