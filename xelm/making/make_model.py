"""Make one model of a run, or keep it if it was finished before."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput, arg
from clustering.files import atomic_write, read_json, write_json
from xelm.expert_kinds.kind import ExpertKind
from xelm.models.base import quiet_transformers
from xelm.run.names import BASE
from xelm.run.reading import read_as
from xelm.run.records.entry_file import ENTRY_FILE
from xelm.run.records.manifest import ModelEntry
from xelm.training.course.stable import begun
from xelm.training.loop import train_stage
from xelm.training.processes import processes
from xelm.training.sharding import whole_weights
from xelm.training.stage import Stage

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CURVE_FILE, VOCABULARY_FILE = "training.json", "vocabulary.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Making:
    """A model to be made: its folder, its entry, its first weights and its training (None: it is only copied)."""

    folder: Path
    entry: ModelEntry
    parent: Callable[[], PreTrainedModel]
    kind: ExpertKind
    """How it is saved."""
    stage: Stage | None
    tokenizer: PreTrainedTokenizerBase
    former: Sequence[str] = ()
    """Other fingerprints that mean the same model (`xelm.making.again.identity`)."""
    before: Stage | None = None
    """A training that the first weights come from and that counts with this one."""
    vocabulary: Path | None = None
    """Folder whose `vocabulary.json` tells of the tokenizer, if it is the model's own."""

    @property
    def planned(self) -> ModelEntry:
        """The entry with what the training will read: blocks and epochs of each language, and all its tokens."""
        drawn = dict(sum((Counter(stage.order.counts()) for stage in self._stages), Counter()))
        num_blocks = {code: len(blocks) for code, blocks in self.stage.blocks.items()} if self.stage else {}
        before = self.entry.tokens_before
        return replace(
            self.entry,
            blocks=drawn,
            epochs={code: number / num_blocks[code] for code, number in drawn.items()},
            tokens_after=None if before is None else before + self.num_tokens,
        )

    @property
    def num_tokens(self) -> int:
        """Tokens that it is trained on."""
        return sum(stage.num_tokens for stage in self._stages)

    @property
    def _stages(self) -> list[Stage]:
        return [stage for stage in (self.before, self.stage) if stage]


def make_model(making: Making, log_file: Path, *, redo: bool = False) -> ModelEntry:
    """Make a model of the run; its folder appears complete or not at all, even if the process is killed.

    A folder made from the same inputs (by fingerprint) is left unchanged. Several processes may train it together
    (DDP, FSDP): all of them call this, and the first of them writes.

    Raises:
        BadInput: If the folder holds a model made from other inputs and `redo` is false, unless it is that of a
            shorter training which this one continues.
    """
    there = finished_entry(making.folder)
    if there and is_made(making):
        return there
    if there and not redo and not is_extended(making):
        raise BadInput(
            f"{making.folder}: made with another recipe, data or parent. Train into another "
            f"{arg('out')}, or give {arg('redo', True)} to retrain it."
        )
    import torch

    if making.stage:
        # Low-rank adapters begin at random: with the same numbers, whatever this process trained before.
        torch.manual_seed(making.stage.settings.seed)
    model = making.parent()
    entry, curve = making.planned, dict[str, Any]()
    if making.stage:
        trained = train_stage(model, making.stage, log_into(log_file))
        earlier = making.before.num_tokens if making.before else 0
        entry.tokens, entry.isolation = trained.tokens + earlier, trained.isolation
        curve = {"history": trained.history}
        if trained.evaluations:
            curve["evaluations"] = trained.evaluations
        if trained.went_on:
            curve["went_on"] = trained.went_on
    entry.state = "done"
    together, weights = processes(), whole_weights(model)
    if together.is_main_process:
        _save(making, model, weights, entry, curve)
        if making.stage:
            shutil.rmtree(making.stage.checkpoints, ignore_errors=True)
    together.wait_for_everyone()
    return entry


def is_made(making: Making) -> bool:
    """Whether the model is finished and was made from exactly these inputs."""
    there = finished_entry(making.folder)
    return there is not None and there.fingerprint in (making.entry.fingerprint, *making.former)


def is_extended(making: Making) -> bool:
    """Whether the folder holds the model of a shorter training, which this one continues."""
    there = finished_entry(making.folder)
    found = begun(making.stage) if making.stage else None
    return there is not None and found is not None and found.is_of(str(there.fingerprint))


def finished_entry(folder: Path) -> ModelEntry | None:
    """The entry of a finished model's folder."""
    file = folder / ENTRY_FILE
    return read_as(ModelEntry, file) if file.is_file() else None


def _save(
    making: Making,
    model: PreTrainedModel,
    weights: dict[str, torch.Tensor] | None,
    entry: ModelEntry,
    curve: dict[str, Any],
) -> None:
    with atomic_write(making.folder) as partial:
        with quiet_transformers():
            making.kind.save(model, partial, weights)
        _make_portable(partial)
        making.tokenizer.save_pretrained(partial)
        if making.vocabulary is not None:
            shutil.copyfile(making.vocabulary / VOCABULARY_FILE, partial / VOCABULARY_FILE)
        write_json(partial / ENTRY_FILE, asdict(entry))
        if curve:
            write_json(partial / CURVE_FILE, curve)


def _make_portable(folder: Path) -> None:
    """Replace the paths of this machine in peft's files: the base always lies beside the experts.

    peft reads a relative path from the working directory: `AutoPeftModel` finds the base from within the expert's
    folder, and says which path it misses from elsewhere.
    """
    file = folder / "adapter_config.json"
    if file.is_file():
        write_json(file, read_json(file) | {"base_model_name_or_path": f"../../{BASE}"})
        (folder / "README.md").unlink(missing_ok=True)  # a template that names the folder of the base


def log_into(file: Path) -> Callable[[dict[str, Any]], None]:
    """What appends each point of a training curve to a file, one JSON object a line."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def log(point: dict[str, Any]) -> None:
        with file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(point) + "\n")

    return log
