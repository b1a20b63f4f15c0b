"""A run's identifier: trained as a recipe says, and read from the folder in which it was saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json
from router.identify import combined, ngram
from router.identify.backend import BACKENDS
from router.identify.combined import CombinedIdentifier
from router.identify.protocol import RunIdentifier
from router.identify.ready import FORMAT_VERSION, INDEX_FILE, MODEL_FILE, ReadyMadeIdentifier

COMBINED = "combined"
"""The identifier that is trained on the run's own text."""


def check_identifier(spec: str, languages: Sequence[str]) -> None:
    """Refuse an identifier that `train_identifier` could not make, before anything is trained.

    Raises:
        BadInput: If there is no such identifier, its package or file is missing, or it does not know a language.
    """
    if spec != COMBINED:
        ReadyMadeIdentifier.of(_known(spec), languages)


def train_identifier(spec: str, corpora: Mapping[str, Iterable[str]], seed: int = 0) -> RunIdentifier:
    """The identifier of a run.

    Args:
        spec: `combined`, or the name of a ready-made identifier (`router.identify.backend`).
        corpora: Language -> texts; a ready-made identifier reads none.
        seed: Chooses samples and spans.

    Raises:
        BadInput: As `check_identifier`, or if a language has no text with letters.
    """
    if spec == COMBINED:
        return CombinedIdentifier.train(corpora, seed=seed)
    return ReadyMadeIdentifier.of(_known(spec), list(corpora))


def save_identifier(identifier: RunIdentifier, folder: Path) -> None:
    """Write a run's identifier, and remove files that another kind of identifier left in the folder."""
    identifier.save(folder)
    written = {combined.INDEX_FILE}
    if isinstance(identifier, CombinedIdentifier):
        written |= {ngram.INDEX_FILE, ngram.TABLE_FILE}
    elif isinstance(identifier, ReadyMadeIdentifier) and identifier.backend.takes_file:
        written.add(MODEL_FILE)
    for name in {ngram.INDEX_FILE, ngram.TABLE_FILE, MODEL_FILE} - written:
        (folder / name).unlink(missing_ok=True)


def load_identifier(folder: str | Path) -> RunIdentifier:
    """Read a run's identifier.

    Raises:
        BadInput: If a file is missing, damaged or of another version, or a package is missing.
    """
    path = Path(folder) / INDEX_FILE
    index = read_json(path)
    if not isinstance(index, dict) or "backend" not in index:
        return CombinedIdentifier.load(folder)
    languages = index.get("languages")
    if index.get("version") != FORMAT_VERSION or not isinstance(languages, list) or not languages:
        raise BadInput(f"{path}: not an identifier of version {FORMAT_VERSION}. Train it again.")
    backend = BACKENDS.find(str(index["backend"]), f"{path}: identifier")
    file = Path(folder) / MODEL_FILE if backend.takes_file else None
    if file is not None and not file.is_file():
        raise BadInput(f"{file}: no such file. Restore it from a copy of the run, or train again.")
    return ReadyMadeIdentifier(backend, file, [str(code) for code in languages])


def _known(spec: str) -> str:
    """The specification, if there is such an identifier; `combined` is one of the choices."""
    name = spec.partition(":")[0]
    if not BACKENDS.has(name):
        raise BadInput(f"[router] identifier = {spec!r}: choose {' or '.join([COMBINED, *BACKENDS.names()])}.")
    return spec
