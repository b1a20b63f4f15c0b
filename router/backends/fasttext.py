"""fastText's language models, such as GlotLID (`model.bin` of the hub's `cis-lmu/glotlid`) or `lid.176.bin`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router.identify.backend import identifier, missing_package
from router.identify.labelled import LabelledIdentifier, codes_of, encodable


@identifier("fasttext", about="a fastText model file, such as GlotLID's; pip install 'xelm[fasttext]'", takes_file=True)
def fasttext(languages: Sequence[str] | None, file: Path | None) -> LabelledIdentifier:
    """Open a fastText model file, such as that of GlotLID or lid.176."""
    try:
        from fasttext import load_model
    except ImportError:
        raise missing_package("fasttext", "fasttext-wheel") from None
    model = load_model(str(file))
    labels = codes_of(model.get_labels(), strip="__label__")

    def probabilities(text: str) -> list[tuple[str, float]]:
        # The wrapper's own predict breaks on numpy 2 (np.array(copy=False)); what it wraps does not.
        line = " ".join(encodable(text).split()) + "\n"
        return [(label, probability) for probability, label in model.f.predict(line, -1, 0.0, "strict")]

    return LabelledIdentifier(labels, probabilities, languages, "fasttext")
