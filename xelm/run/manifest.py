"""The manifest of a run, `xelm.json`: what is in it, from what it was made, and the SHA-256 of every file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import PARTIAL_PREFIX, read_json, sha256_of, write_json

FILE_NAME = "xelm.json"
FORMAT_VERSION = 1
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

    languages: list[str]
    parent: str | None
    """`base`, an expert's name, or the hub id or path that the base came from."""
    kind: str = "full"
    tokens: int = 0
    """Tokens it was trained on in this run."""
    state: str = "pending"
    """`pending` or `done`."""
    isolation: str | None = None
    fingerprint: str | None = None
    """Of everything that decides its weights: when it changes, the model is made anew."""


@dataclass
class Manifest:
    """Everything a reader of the run needs, read from and written to `xelm.json`."""

    recipe: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    """Per language: counts and the fingerprint of its text."""
    base: ModelEntry | None = None
    dense: ModelEntry | None = None
    experts: dict[str, ModelEntry] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file, by path inside the run."""
    ledger: list[dict[str, Any]] = field(default_factory=list)
    """Languages added since the run was trained."""
    format_version: int = FORMAT_VERSION

    @classmethod
    def read(cls, run: Path) -> Manifest:
        """Read a run's manifest.

        Raises:
            BadInput: If the folder is no run, the manifest is broken, or a later version wrote it.
        """
        if not (run / FILE_NAME).is_file():
            raise BadInput(f"{run}: no {FILE_NAME} there, so it is no xelm run. Make one with `xelm train`.")
        value = read_json(run / FILE_NAME)
        if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
            raise BadInput(f"{run / FILE_NAME}: not a manifest of format {FORMAT_VERSION}; update xelm.")
        try:
            entries = {name: ModelEntry(**entry) for name, entry in value.pop("experts").items()}
            base, dense = (value.pop(key) for key in ("base", "dense"))
            return cls(
                experts=entries,
                base=ModelEntry(**base) if base else None,
                dense=ModelEntry(**dense) if dense else None,
                **value,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{run / FILE_NAME}: not a whole manifest ({error}).") from None

    def write(self, run: Path) -> None:
        """Write it to the run, whole."""
        write_json(run / FILE_NAME, asdict(self))

    def put(self, name: str, entry: ModelEntry) -> None:
        """Enter a model: `base`, `dense` or an expert."""
        if name == "base":
            self.base = entry
        elif name == "dense":
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


def package_versions() -> dict[str, str]:
    """Versions of xelm and of the packages that decide results."""
    return {name: version(name) for name in ("xelm", *_PACKAGES)}


def fingerprint(*parts: Any) -> str:
    """SHA-256 of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
