"""lingua: 75 languages, made for short text; the package `lingua-language-detector`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clustering.languages.codes import match
from router.identify.backend import identifier, missing_package
from router.identify.labelled import LabelledIdentifier, encodable


@identifier("lingua", about="75 languages, made for short text; pip install 'xelm[lingua]'")
def lingua(languages: Sequence[str] | None, file: Path | None) -> LabelledIdentifier:
    """Open lingua with the languages asked for."""
    try:
        from lingua import Language, LanguageDetectorBuilder
    except ImportError:
        raise missing_package("lingua", "lingua-language-detector") from None
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
        return [(v.language.name, v.value) for v in detector.compute_language_confidence_values(encodable(text))]

    return LabelledIdentifier(labels, probabilities, languages, "lingua")
