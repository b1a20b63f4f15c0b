"""Other people's identifiers behind the same protocol, each used when its package is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import UnknownLanguageError, match, to_code
from router.letters import plain_letters

Probabilities = Callable[[str], Iterable[tuple[str, float]]]
"""From a text to (label, probability) pairs, in any order, perhaps not all labels."""


class LabelledIdentifier:
    """An identifier made of a function that gives labels with probabilities.

    Guarantees: rows sum to 1 over the languages asked for; a text without letters, or whose labels are all others,
    gets the uniform posterior.

    Args:
        labels: Label of the function -> ISO 639-3 code; several labels may share a code (scripts), and add up.
        probabilities: See `Probabilities`.
        languages: Answer only for those of these codes that it knows; None for all.
        name: For messages.

    Raises:
        BadInput: If it knows none of `languages`.
    """

    def __init__(
        self, labels: dict[str, str], probabilities: Probabilities, languages: Sequence[str] | None, name: str
    ):
        known = list(dict.fromkeys(labels.values()))
        columns: dict[str, int] = {}
        code_of = {}
        for language in languages if languages is not None else known:
            found = match(language, known)
            if found is not None:
                code_of[found] = columns.setdefault(to_code(language), len(columns))
        if not columns:
            raise BadInput(f"{name} knows none of {', '.join(languages or ())}. Choose another identifier.")
        self._languages = tuple(columns)
        self._column_of_label = {label: code_of[code] for label, code in labels.items() if code in code_of}
        self._probabilities = probabilities

    @property
    def languages(self) -> Sequence[str]:
        """The codes answered for, as the caller gave them."""
        return self._languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform where a text says nothing."""
        posterior_BL = np.zeros((len(texts), len(self._languages)))
        for row, text in enumerate(texts):
            if plain_letters(text):
                for label, probability in self._probabilities(text):
                    column = self._column_of_label.get(label)
                    if column is not None:
                        posterior_BL[row, column] += probability
        sums_B1 = posterior_BL.sum(axis=1, keepdims=True)
        uniform = np.full_like(posterior_BL, 1.0 / posterior_BL.shape[1])
        return np.divide(posterior_BL, sums_B1, out=uniform, where=sums_B1 > 0)


def make(name: str, languages: Sequence[str] | None, **options: Any) -> LabelledIdentifier:
    """Build one of `py3langid`, `lingua`, `fasttext` (which needs `path=`, such as GlotLID's model file).

    Raises:
        BadInput: If its package or file is missing; the message says how to get it.
    """
    makers = {"py3langid": _py3langid, "lingua": _lingua, "fasttext": _fasttext}
    return makers[name](languages, **options)


def _py3langid(languages: Sequence[str] | None) -> LabelledIdentifier:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise _missing("py3langid", "py3langid") from None
    source = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    labels = _codes_of(source.labels)
    if languages is not None:
        source.set_languages([label for label, code in labels.items() if match(code, languages) is not None] or None)
    return LabelledIdentifier(labels, lambda text: source.rank(_encodable(text)), languages, "py3langid")


def _lingua(languages: Sequence[str] | None) -> LabelledIdentifier:
    try:
        from lingua import Language, LanguageDetectorBuilder
    except ImportError:
        raise _missing("lingua", "lingua-language-detector") from None
    labels = {language.name: language.iso_code_639_3.name.lower() for language in Language.all()}
    wanted = [
        language
        for language in Language.all()
        if languages is None or match(labels[language.name], languages) is not None
    ]
    if len(wanted) < 2:  # lingua refuses to choose among fewer; restricting happens again afterwards
        wanted = list(Language.all())
    detector = LanguageDetectorBuilder.from_languages(*wanted).build()

    def probabilities(text: str) -> list[tuple[str, float]]:
        return [(v.language.name, v.value) for v in detector.compute_language_confidence_values(_encodable(text))]

    return LabelledIdentifier(labels, probabilities, languages, "lingua")


def _fasttext(languages: Sequence[str] | None, path: str | Path | None = None) -> LabelledIdentifier:
    try:
        import fasttext
    except ImportError:
        raise _missing("fasttext", "fasttext-wheel") from None
    if path is None or not Path(path).is_file():
        raise BadInput(
            f"fasttext needs path= to a model file (given: {path}), such as model.bin of the hub's cis-lmu/glotlid."
        )
    model = fasttext.load_model(str(path))
    labels = _codes_of(model.get_labels(), strip="__label__")

    def probabilities(text: str) -> list[tuple[str, float]]:
        # The wrapper's own predict breaks on numpy 2 (np.array(copy=False)); what it wraps does not.
        line = " ".join(_encodable(text).split()) + "\n"
        return [(label, probability) for probability, label in model.f.predict(line, -1, 0.0, "strict")]

    return LabelledIdentifier(labels, probabilities, languages, "fasttext")


def _codes_of(labels: Iterable[str], strip: str = "") -> dict[str, str]:
    """Labels with their ISO 639-3 codes; labels that name no single language are left out."""
    codes = {}
    for label in labels:
        try:
            codes[label] = to_code(label.removeprefix(strip))
        except UnknownLanguageError:
            continue
    return codes


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _missing(name: str, package: str) -> BadInput:
    return BadInput(f"The identifier {name!r} needs the package {package}. Install it: pip install {package}")
