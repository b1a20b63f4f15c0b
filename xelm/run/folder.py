"""RunFolder: the paths of all files of a run. No other module builds these paths.

Each property is the path at which a file is to be read at this moment: its own, or under `next/` while a change is
being moved into place. A process that holds the lock writes to the same paths; nothing is under `next/` then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xelm.run.names import BASE, DENSE, is_expert
from xelm.run.paths import plain_name
from xelm.run.records.manifest import FILE_NAME
from xelm.run.transaction import SHADOW, current

_FIRST = "previous/run"
TRAINED = "trained"
"""The overlay of a run whose experts were moved to the base: the trained experts and all that follows from them."""
ROUTES_BY = ("plan.json", "eval/valid.json", "router/")
"""Files, and folders of files, that decide where a text goes."""
EVALUATIONS = ("eval/valid.json", "eval/test.json")
"""Figures of the models and of the routing."""
SAMPLES, REPORT = "eval/samples.json", "report.html"
HISTORY = ("previous/", f"{TRAINED}/")
"""Folders of earlier states."""
_NOT_DERIVED = (BASE, DENSE, "experts", "eval/heldout", "previous", TRAINED)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, or of the shadow in which a change to it is made."""

    path: Path
    overlay: str = ""
    """A folder inside the run, built like a run: a file that it holds is read there instead. Empty: none."""

    @property
    def manifest(self) -> Path:
        """The content of the run, with every checksum; the only file that is never read under `next/`."""
        return self._at(FILE_NAME) if self.overlay else self.path / FILE_NAME

    @property
    def plan(self) -> Path:
        """The plan: the clusters and their languages."""
        return self._at("plan.json")

    @property
    def router(self) -> Path:
        """Folder of the language identifier."""
        return self._at("router")

    @property
    def report(self) -> Path:
        """The report's page."""
        return self._at(REPORT)

    @property
    def samples(self) -> Path:
        """Sample answers that the report shows."""
        return self._at(SAMPLES)

    @property
    def effects(self) -> Path:
        """Measured effects of each language on the others, if the plan was made from them."""
        return self._at("effects.json")

    @property
    def comparison(self) -> Path:
        """A comparison of plans that the user put here as evidence for this one's."""
        return self._at("comparison.json")

    @property
    def cache(self) -> Path:
        """Files that only this machine needs and that may be deleted; a shadow uses its run's cache."""
        outer = self.path.parents[1] if self.path.parts[-2:] == SHADOW else self.path
        return outer / "cache"

    @property
    def work(self) -> Path:
        """Unfinished work; removed when the work is done."""
        return self.path / "work"

    @property
    def logs(self) -> Path:
        """Logs, one file for each training."""
        return self.path / "logs"

    @property
    def first(self) -> Path:
        """The state before the first addition: all files that were derived again since, and the manifest."""
        return self._at(_FIRST)

    def model(self, name: str) -> Path:
        """Folder of a model: `base`, `dense` or an expert.

        Raises:
            BadInput: If the name is no plain name.
        """
        return self._at(model_path(name))

    def previous(self, name: str, version: int) -> Path:
        """Folder of an earlier version of an expert, counted from 1."""
        return self._at(f"previous/{plain_name(name, str(self.manifest))}.v{version}")

    def num_versions(self, name: str) -> int:
        """How many earlier versions of an expert are kept."""
        number = 0
        while self.previous(name, number + 1).is_dir():
            number += 1
        return number

    def heldout(self, code: str) -> Path:
        """Held-out documents of a language (`xelm.run.records.heldout.read_heldout`)."""
        return self._at(f"eval/heldout/{plain_name(code, str(self.manifest))}.jsonl")

    def evaluation(self, split: str) -> Path:
        """Measured figures on `valid` or `test` text."""
        return self._at(f"eval/{plain_name(split, str(self.manifest))}.json")

    def log(self, name: str) -> Path:
        """Log of the training of a model, with one JSON object a line."""
        return self.logs / f"{plain_name(name, str(self.manifest))}.jsonl"

    def checkpoints(self, name: str, fingerprint: str | None) -> Path:
        """Folder of the checkpoints of a training with this name and these inputs."""
        return self.work / plain_name(f"{name}-{str(fingerprint)[:12]}", str(self.manifest))

    def cached(self, name: object) -> Path:
        """A folder of the cache, by the name that the manifest gives it."""
        return self.cache / plain_name(name, str(self.manifest))

    def _at(self, name: str) -> Path:
        if self.overlay and (laid_over := current(self.path, f"{self.overlay}/{name}")).exists():
            return laid_over
        return current(self.path, name)


def model_path(name: str) -> str:
    """Path of a model's folder inside a run.

    Raises:
        BadInput: If the name is no plain name.
    """
    return name if not is_expert(name) else f"experts/{plain_name(name, 'the name of an expert')}"


def is_derived(name: str) -> bool:
    """Whether a file of a run is derived from its models and texts, so that it is written again when they change."""
    return not name.startswith(tuple(f"{part}/" for part in _NOT_DERIVED))
