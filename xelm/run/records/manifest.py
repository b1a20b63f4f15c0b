"""The manifest of a run, `xelm.json`: what is in it, from what it was made, and the SHA-256 of every file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import PARTIAL_PREFIX, read_json, sha256_of, write_json
from xelm.run.names import is_base, is_dense
from xelm.run.reading import STRICT, read_as
from xelm.run.records.format_1 import upgraded
from xelm.run.records.ledger import LedgerEntry, renamed

FILE_NAME = "xelm.json"
FORMAT_VERSION = 2
DIGEST = "sha256"
"""Key of the manifest's checksum of itself."""
_PACKAGES = (
    "accelerate",
    "datasets",
    "langid",
    "numpy",
    "peft",
    "safetensors",
    "scipy",
    "torch",
    "transformers",
)
_NOT_KEPT = ("logs", "work", "cache", "next")
"""Folders that may differ between equal runs, or go away: outside the manifest (`next`: see `xelm.run.transaction`)."""


@dataclass
class ModelEntry:
    """One trained model of a run: base, dense or an expert."""

    __pydantic_config__ = STRICT

    languages: list[str]
    parent: str | None
    """`base`, an expert's name, or the hub id or path that the base came from."""
    kind: str = "full"
    tokens: int = 0
    """Tokens it was trained on in this run, in its own training."""
    state: str = "pending"
    """`pending` or `done`."""
    isolation: str | None = None
    fingerprint: str | None = None
    """Fingerprint of everything that decides its weights: if it changes, the model must be retrained."""
    parent_fingerprint: str | None = None
    """Of the weights it started from; a name may stand for other weights later. None: not from this run."""
    tokens_before: int | None = None
    """Tokens of this run that the weights it started from had been trained on. None: not recorded."""
    tokens_after: int | None = None
    """The same of its own weights: `tokens` more."""
    blocks: dict[str, int] | None = None
    """Language -> training blocks drawn. None: not recorded; empty: it was not trained."""
    epochs: dict[str, float] | None = None
    """Language -> how often its training text was read. None: not recorded."""
    keep: float | None = None
    """How much of the way from the base to the trained expert its weights are (`xelm.blend`), above 0 and below 1.
    None: all of it. All else in this entry tells of the trained expert."""
    vocabulary: str | None = None
    """Fingerprint of its own tokenizer, which lies with it; experts with the same one read the same pieces. None: it
    reads those of the run."""
    put_back: list[str] = field(default_factory=list)
    """Layers whose weights are the base's again (`xelm.blend`)."""
    aligned: dict[str, Any] | None = None
    """If it was trained on pairs afterwards (`xelm.align`): `from`, the fingerprint of the weights that this began
    with; `pairs`, their number by language; `additions`, the languages that had been added by then. None: it was not.
    Epochs and tokens tell of the training before."""

    @property
    def weights_print(self) -> str | None:
        """What tells its present weights from all others; measurements are kept by it."""
        moved: dict[str, Any] = {} if self.keep is None else {"keep": self.keep}
        moved |= {"put_back": self.put_back} if self.put_back else {}
        return fingerprint(self.fingerprint, moved) if moved else self.fingerprint

    def recorded_as(self, planned: ModelEntry) -> ModelEntry:
        """The entry, with what an earlier version of xelm did not record taken from the plan it was made by."""
        names = ("parent_fingerprint", "tokens_before", "tokens_after", "blocks", "epochs")
        return replace(self, **{n: getattr(planned, n) for n in names if getattr(self, n) is None})


@dataclass
class Manifest:
    """Everything a reader of the run needs, read from and written to `xelm.json`."""

    __pydantic_config__ = STRICT

    recipe: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    """Per language: counts and the fingerprint of its text."""
    base: ModelEntry | None = None
    dense: ModelEntry | None = None
    experts: dict[str, ModelEntry] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    """The headline of the evaluation on test text (`xelm.run.records.results.Evaluation.headline`)."""
    packages: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file, by path inside the run."""
    ledger: list[LedgerEntry] = field(default_factory=list)
    """Languages added since the run was trained."""
    format_version: int = FORMAT_VERSION

    @classmethod
    def read(cls, run: Path, file: Path | None = None) -> Manifest:
        """Read a run's manifest, of this format or an earlier one.

        Args:
            run: The run directory.
            file: Where the manifest is kept; None: in its place.

        Raises:
            BadInput: If the folder is no run, the manifest is damaged, or a later version wrote it.
        """
        file = file or run / FILE_NAME
        if not file.is_file():
            raise BadInput(f"{run}: no {FILE_NAME} there, so it is no xelm run. Make one with `xelm train`.")
        value = read_json(file)
        if isinstance(value, dict):
            value.pop(DIGEST, None)  # which `xelm.run.verify` compares
        written = value.get("format_version") if isinstance(value, dict) else None
        if type(written) is not int or not 1 <= written <= FORMAT_VERSION:
            raise BadInput(f"{file}: not a manifest of format 1 to {FORMAT_VERSION}; update xelm.")
        if written == 1:
            value = upgraded(value, run)
        if isinstance(ledger := value.get("ledger"), list):
            value = {**value, "ledger": [renamed(line) for line in ledger]}
        return read_as(cls, file, value)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, as `xelm.json` holds it."""
        return asdict(self) | {"ledger": [line.to_dict() for line in self.ledger]}

    def write(self, run: Path) -> None:
        """Write it to the run, whole, with a checksum of its own content."""
        value = self.to_dict()
        write_json(run / FILE_NAME, value | {DIGEST: digest(value)})

    def put(self, name: str, entry: ModelEntry) -> None:
        """Enter a model: `base`, `dense` or an expert."""
        if is_base(name):
            self.base = entry
        elif is_dense(name):
            self.dense = entry
        else:
            self.experts[name] = entry

    def refresh_files(self, run: Path) -> None:
        """Take the SHA-256 of every file of the run."""
        self.files = {name: sha256_of(run / name) for name in kept_files(run)}


def kept_files(run: Path) -> list[str]:
    """Paths inside the run of all files that belong to it for good, sorted; the manifest itself is not among them."""
    names = []
    for path in run.rglob("*"):
        name = path.relative_to(run)
        hidden = any(part.startswith((PARTIAL_PREFIX, ".")) for part in name.parts)
        if path.is_file() and not hidden and name.parts[0] not in (*_NOT_KEPT, FILE_NAME):
            names.append(name.as_posix())
    return sorted(names)


def digest(value: dict[str, Any]) -> str:
    """SHA-256 of the content of a manifest without its own checksum."""
    return fingerprint({key: part for key, part in value.items() if key != DIGEST})


def package_versions() -> dict[str, str]:
    """Versions of xelm and of the packages that decide results."""
    return {name: version(name) for name in ("xelm", *_PACKAGES)}


def fingerprint(*parts: Any) -> str:
    """SHA-256 of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
