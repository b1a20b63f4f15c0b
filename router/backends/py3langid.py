"""py3langid: langid's model for newer versions of Python; the package `py3langid`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clustering.languages.codes import match
from router.identify.backend import identifier, missing_package
from router.identify.labelled import LabelledIdentifier, codes_of, encodable


@identifier("py3langid", about="97 languages; pip install 'xelm[py3langid]'")
def py3langid(languages: Sequence[str] | None, file: Path | None) -> LabelledIdentifier:
    """Open py3langid, whose model comes with its package."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise missing_package("py3langid", "py3langid") from None
    source = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    labels = codes_of(source.labels)
    if languages is not None:
        source.set_languages([label for label, code in labels.items() if match(code, languages) is not None] or None)
    return LabelledIdentifier(labels, lambda text: source.rank(encodable(text)), languages, "py3langid")
