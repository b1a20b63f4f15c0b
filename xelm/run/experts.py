"""ExpertSet: a run directory as an object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import expanded, read_json
from xelm.expert_kinds.kind import EXPERT_KINDS, ExpertKind
from xelm.objectives.objective import OBJECTIVES, Objective
from xelm.recipe.docstrings import fields_in_help
from xelm.run.folder import TRAINED, RunFolder
from xelm.run.model_files import refuse_adapter, refuse_names_that_leave
from xelm.run.names import BASE, DENSE
from xelm.run.records.heldout import read_heldout
from xelm.run.records.manifest import Manifest, ModelEntry
from xelm.run.records.results import Evaluation
from xelm.run.snapshot import read_whole
from xelm.run.verify import check_names, verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from clustering import ClusterPlan


_MOST_OF_ANY = 1e18


@dataclass(frozen=True)
class Document:
    """A held-out document of a run."""

    language: str
    text: str
    id: Any = None
    answer_at: int | None = None
    """Of a prompt with its answer: where the answer begins in the text. The answer alone is judged."""

    @property
    def judged(self) -> str:
        """The part that is judged."""
        return self.text[self.answer_at or 0 :]

    @property
    def asked(self) -> str:
        """The part that chooses the experts of an answer; of text, the whole."""
        return self.text if self.answer_at is None else self.text[: self.answer_at - 1]


@fields_in_help
@dataclass(frozen=True)
class ExpertSet:
    """The base, experts and dense baseline of a run, with the plan that assigns languages to experts."""

    path: Path
    """The run directory."""
    manifest: Manifest
    """What `xelm.json` says: the entry of every model, checksums, recipe, languages added."""
    plan: ClusterPlan
    """The languages of each expert."""
    overlay: str = ""
    """A folder whose files stand in for those of the run (`RunFolder`); "": none."""

    def __repr__(self) -> str:
        others = [name for name in self.models if name not in self.names]
        clusters = ", ".join(f"{name}: {' '.join(codes)}" for name, codes in self.plan.clusters.items())
        return f"ExpertSet({str(self.path)!r}, {', '.join(others)}, {{{clusters}}})"

    @classmethod
    def load(cls, path: str | Path) -> ExpertSet:
        """Open a run directory; no weights are read, and nothing is written.

        Raises:
            BadInput: If there is no run, or its manifest or plan is broken.
        """
        from clustering import ClusterPlan

        run = local_run(path)

        def read() -> ExpertSet:
            manifest = Manifest.read(run)
            check_names(run, manifest)
            return cls(run, manifest, ClusterPlan.load(RunFolder(run).plan))

        return read_whole(run, read)

    @property
    def files(self) -> RunFolder:
        """Where everything of the run is kept."""
        return RunFolder(self.path, self.overlay)

    @property
    def is_blended(self) -> bool:
        """Whether experts were moved part of the way back to the base (`xelm.blend`), so that `trained` differs."""
        return not self.overlay and RunFolder(self.path, TRAINED).manifest != self.files.manifest

    def trained(self) -> ExpertSet:
        """The run as it was before its experts were moved back to the base; the run itself if they were not."""
        if not self.is_blended:
            return self
        manifest = Manifest.read(self.path, RunFolder(self.path, TRAINED).manifest)
        return replace(self, manifest=manifest, overlay=TRAINED)

    @property
    def names(self) -> list[str]:
        """Experts, in the plan's order."""
        return [name for name in self.plan.clusters if name in self.manifest.experts]

    @property
    def models(self) -> list[str]:
        """Every model of the run: base, dense if there is one, experts."""
        return [BASE, *([DENSE] if self.entry_or_none(DENSE) else []), *self.names]

    @property
    def languages(self) -> list[str]:
        """ISO 639-3 codes of all languages of the run, sorted."""
        return sorted(code for codes in self.plan.clusters.values() for code in codes)

    @property
    def objective(self) -> Objective:
        """The objective of its models: to predict the next token (causal), or tokens that were masked (masked)."""
        train = self.manifest.recipe.get("train", {})
        return OBJECTIVES.find(str(train.get("objective", "causal")) if isinstance(train, dict) else "causal")

    def folder(self, name: str) -> Path:
        """The folder of a model of the run.

        Raises:
            BadInput: If there is no model of that name.
        """
        if name not in self.models:
            raise BadInput(f"{self.path}: no model '{name}'. There are: {', '.join(self.models)}.")
        return self.files.model(name)

    def entry_or_none(self, name: str) -> ModelEntry | None:
        """The manifest's entry of a finished model."""
        entries = {BASE: self.manifest.base, DENSE: self.manifest.dense, **self.manifest.experts}
        entry = entries.get(name)
        return entry if entry and entry.state == "done" else None

    def kind(self, name: str) -> type[ExpertKind]:
        """The kind of expert of a model of the run, which decides how it is loaded and served."""
        entry = self.entry_or_none(name)
        return EXPERT_KINDS.find(entry.kind if entry else "full")

    def load_model(self, name: str, *, trainable: bool = False, **options: Any) -> PreTrainedModel:
        """A model of the run, in evaluation mode (an adapter on its own copy of the base).

        Args:
            name: `base`, `dense` or an expert.
            trainable: Whether it will be trained further: then adapters take gradients.
            options: Passed to `from_pretrained` (`dtype`, `device_map`).

        Raises:
            BadInput: If it is damaged, or a name in its folder leads out of the run.
        """
        from xelm.models.base import load_model
        from xelm.models.foreign import unusable_reported

        def load(folder: Path) -> PreTrainedModel:
            refuse_names_that_leave(self.path, folder)
            refuse_adapter(folder)
            return load_model(str(folder), self.objective, whole=True, **options)

        def read() -> PreTrainedModel:
            folder = self.folder(name)
            with unusable_reported(str(folder)):
                refuse_names_that_leave(self.path, folder)
                model: PreTrainedModel = self.kind(name).load(folder, self.folder(BASE), load, trainable=trainable)
                model.eval()
                return model

        return read_whole(self.path, read)

    def tokenizer(self, name: str = BASE) -> PreTrainedTokenizerBase:
        """The tokenizer of a model: the run's, or an expert's own."""
        from xelm.models.base import load_tokenizer

        folder = self.folder(BASE if self.vocabulary(name) is None else name)
        refuse_names_that_leave(self.path, folder)
        return load_tokenizer(str(folder))

    def vocabulary(self, name: str) -> str | None:
        """Fingerprint of a model's own vocabulary; None if it reads the pieces of the run."""
        entry = self.entry_or_none(name)
        return entry.vocabulary if entry else None

    def heldout(self, split: str, languages: Iterable[str] | None = None) -> list[Document]:
        """Held-out documents kept in the run.

        Args:
            split: `valid` (for decisions) or `test` (for results).
            languages: Codes; None: all languages of the run.
        """
        documents = []
        for code in sorted(languages if languages is not None else self.languages):
            rows = read_heldout(self.files.heldout(code), split)
            documents += [Document(code, row.text, row.id, row.answer_at) for row in rows]
        return documents

    def history(self, name: str) -> list[dict[str, float]]:
        """The training curve of a model: `step`, `tokens`, `loss` (nats per token); empty for a hub base."""
        file = self.folder(name) / "training.json"
        if not file.is_file():
            return []
        content = read_json(file)
        rows = content.get("history") if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(map(_is_point, rows)):
            raise BadInput(f"{file}: damaged: its history is no list of step, tokens and loss.")
        return rows

    def result(self, split: str) -> Evaluation | None:
        """The evaluation on `valid` or `test` text; None if there is none yet.

        Raises:
            BadInput: If its file is damaged.
        """
        file = self.files.evaluation(split)
        return Evaluation.read(file) if file.is_file() else None

    def verify(self) -> list[str]:
        """Problems found by comparing every file with its SHA-256; empty if all is well."""
        return verify(self.path)


def _is_point(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    values = [row.get(key) for key in ("step", "tokens", "loss")]
    return all(isinstance(value, int | float) and 0 <= value < _MOST_OF_ANY for value in values)


def local_run(path: str | Path) -> Path:
    """The folder of a run given as a local path or hub id.

    Raises:
        BadInput: If it is neither.
    """
    folder = expanded(path)
    if folder.is_dir():
        return folder
    if folder.exists() or len(Path(path).parts) != 2 or str(path).startswith((".", "/", "~")):
        raise BadInput(f"{path}: no such run directory.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(path)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: neither a run directory here nor a repository on the hub ({reason}).") from None
