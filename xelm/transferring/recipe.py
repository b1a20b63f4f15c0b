"""The recipe of a transfer experiment: base, task, sources, training, techniques, tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clustering.errors import BadInput
from xelm.recipe.docstrings import fields_in_help
from xelm.recipe.parsing import build, check, override, read_toml
from xelm.transferring.features.encoder import ENCODERS
from xelm.transferring.heads.head import HEADS
from xelm.transferring.paths import anchor
from xelm.transferring.tasks.task import TASKS
from xelm.transferring.techniques.technique import Techniques

Pool = Literal["mean", "first", "last"]
"""How the states of a text become one vector."""


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class TaskBase:
    """What the task sits on: a run, any model, or plain n-grams."""

    run: str | None = None
    """Run directory, or hub id of one."""
    model: str | None = None
    """Hub id or path of a model: an encoder or a causal model."""
    features: str = "hidden"
    """`hidden`: hidden states of the model; `ngrams`: hashed letters, the baseline that needs no model."""
    policy: str | tuple[str, ...] = "top1"
    """For a run, the expert that the task sits on: `base`, `dense`, `source` (the source's), `top1` (the target's, by
    routing), `madx` (taught on the source's, answered by the target's), `ensemble` (all, by the router's weights) or
    an expert's name; a list gives a row of the table each."""
    layer: int | None = None
    """Hidden layer of the features, from 0 (embeddings); negative ones count from the last. None: the last."""
    pool: Pool = "mean"
    """How the states of a text become one vector."""
    prefix: str = ""
    """Text put before each text, if the model was trained so (`query: `)."""
    max_length: int = 256
    """Most tokens of a text; the rest is cut off, which is counted."""
    batch_size: int = 32
    """Texts of one pass."""
    device: str = "auto"
    """As for torch (`cpu`, `cuda`); `auto` takes a GPU if there is one."""
    center: bool = False
    """Also measure features from which the mean of their language is taken (of unlabelled training text)."""

    def __post_init__(self) -> None:
        ENCODERS.find(self.features, "[base] features")
        given = [name for name in ("run", "model") if getattr(self, name)]
        if self.features == "ngrams":
            check(not given, f'[base] features = "ngrams" needs no model: leave {" and ".join(given)} out.')
        else:
            check(len(given) == 1, '[base] needs a run, a model, or features = "ngrams": exactly one of them.')
        check(self.max_length >= 8, f"[base] max_length={self.max_length} must be at least 8.")
        check(self.batch_size >= 1, f"[base] batch_size={self.batch_size} must be at least 1.")
        check(bool(self.policies), "[base] policy is empty: name one, or leave the key out.")
        is_default = self.policy == TaskBase.policy
        check(
            bool(self.run) or is_default,
            f"[base] policy = {self.policy!r} chooses among the experts of a run: name one.",
        )

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies, of which each is a model of the table."""
        return (self.policy,) if isinstance(self.policy, str) else tuple(dict.fromkeys(self.policy))


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class TaskData:
    """What is to be answered."""

    kind: str
    """`classification`, `tagging` (a label a word), `pair` (two texts), `retrieval` (find the translation)."""
    path: str
    """Folder of <code>.{jsonl,csv,tsv,parquet,conllu,…}, plain or packed, or of <code>/ folders; rows have `split`."""
    languages: tuple[str, ...] | None = None
    """Languages to read. None: all of the folder."""
    text: str = "text"
    """Key of the text."""
    tokens: str = "tokens"
    """Key of the list of words, for tagging."""
    label: str | None = None
    """Key of the label, or of the words' labels. None: the usual names (`label`, `category`; `tags`, `upos`)."""
    second: str | None = None
    """Key of the other text of a pair. None: the usual names."""
    id: str = "id"
    """Key of a row's name."""
    parallel: bool = True
    """Whether rows of one id are translations of each other; then none is taught whose translation is tested."""

    def __post_init__(self) -> None:
        TASKS.find(self.kind, "[task] kind")


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Sources:
    """The languages that teach."""

    languages: str | tuple[str, ...] = ("eng",)
    """A list: taught together; `auto`: the first of `rank_sources` for each target; `each`: every language alone, the
    full matrix; `all-but-target`: all others together."""
    sets: tuple[str, ...] = ()
    """Several of these in one table, instead of `languages`: `eng`, `eng+spa`, `auto`, `none` (shots alone), …"""
    top: int = 1
    """For `auto`: how many of the best teach together."""
    candidates: tuple[str, ...] | None = None
    """Languages for `auto`, `each` and `all-but-target`. None: all with training rows."""
    tokenizer: str | None = None
    """Tokenizer for `auto`, hub id or path. None: that of the base, if it has one."""

    def __post_init__(self) -> None:
        check(self.top >= 1, f"[sources] top={self.top} must be at least 1.")
        check(bool(self.languages), "[sources] languages is empty: name one, or auto, each or all-but-target.")


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How the task is learnt."""

    adapter: str | tuple[str, ...] = "head"
    """`head`: a linear head on frozen features; `lora`: adapters; `full`: all weights; `prompt`: a soft prompt;
    `cloze`: nothing is learnt, the model answers `templates`. A list gives a row each."""
    templates: str | None = None
    """For `cloze`: a TOML file with templates and words for the labels, by language."""
    prompt_length: int = 16
    """For `prompt`: vectors that are learnt and put before each text."""
    shots: tuple[int, ...] = (0,)
    """Labelled rows of the target that are added to the sources': 0 is zero-shot."""
    per_class: bool = False
    """Whether shots are counted in each class rather than in all."""
    seeds: int = 1
    """How often everything random is done anew: drawing shots, techniques, training."""
    draws: int | None = None
    """How often shots are drawn for each seed. None: once."""
    repeat_shots: int = 1
    """How many times each of the target's rows is learnt, so that they count beside many rows of the sources."""
    strength: float | None = None
    """Of the head on frozen features: C of the logistic regression, or 1 / alpha of the ridge. None: measured
    defaults."""
    rank: int = 16
    """Rank of `lora`."""
    epochs: int = 3
    """Passes over the training rows, for `lora` and `full`."""
    learning_rate: float | None = None
    """Peak learning rate. None: 5e-4 for `lora`, 5e-5 for `full`, 1e-2 for `prompt`."""
    batch_size: int = 16
    """Rows of one step."""

    def __post_init__(self) -> None:
        for name in self.adapters:
            HEADS.find(name, "[train] adapter")
        check(bool(self.adapters), "[train] adapter is empty: name one, or leave the key out.")
        check(bool(self.shots) and min(self.shots) >= 0, f"[train] shots={list(self.shots)}: numbers from 0 on.")
        check(
            ("cloze" in self.adapters) == (self.templates is not None),
            '[train] adapter = "cloze" and templates = "templates.toml" belong together: give both, or neither.',
        )
        for name in ("seeds", "repeat_shots", "rank", "epochs", "batch_size", "prompt_length"):
            check(getattr(self, name) >= 1, f"[train] {name}={getattr(self, name)} must be at least 1.")
        check(self.draws is None or self.draws >= 1, f"[train] draws={self.draws} must be at least 1.")
        for name in ("strength", "learning_rate"):
            check(getattr(self, name) is None or getattr(self, name) > 0, f"[train] {name} must be > 0.")

    @property
    def adapters(self) -> tuple[str, ...]:
        """The heads, of which each is a row of the table."""
        return (self.adapter,) if isinstance(self.adapter, str) else tuple(dict.fromkeys(self.adapter))


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Tests:
    """What is tested."""

    targets: tuple[str, ...] | None = None
    """Languages to answer in. None: all with test rows."""
    own: bool | None = None
    """Also teach each target by its own rows, to compare with. None: where a head on frozen features does it fast."""
    translate_test: str | None = None
    """A command that translates test text into the source language (`apertium -u spa-eng`): one more technique."""
    replicates: int = 2000
    """Draws of test rows for the intervals."""

    def __post_init__(self) -> None:
        check(self.replicates >= 1, f"[evaluate] replicates={self.replicates} must be at least 1.")


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class TransferRecipe:
    """A complete experiment."""

    base: TaskBase
    """The table `[base]`: the model that learns the task."""
    task: TaskData
    """`[task]`: what is asked, and where its labelled text is."""
    sources: Sources = field(default_factory=Sources)
    """`[sources]`: the languages that teach."""
    train: Teaching = field(default_factory=Teaching)
    """`[train]`: how the task is taught."""
    augment: Techniques = field(default_factory=Techniques)
    """`[[augment]]`: techniques, each beside the plain teaching."""
    evaluate: Tests = field(default_factory=Tests)
    """`[evaluate]`: what is measured on which languages."""

    @classmethod
    def load(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> TransferRecipe:
        """Read a TOML recipe; relative paths in it start at its own folder.

        Raises:
            BadInput: If the file is missing or not TOML, a key is unknown, or a value has the wrong type or range.
        """
        file = Path(path)
        table = read_toml(file)
        for text in overrides:
            override(table, text)
        try:
            return cls.from_dict(table).anchored(file.resolve().parent)
        except BadInput as error:
            raise BadInput(f"{file}: {error}") from None

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> TransferRecipe:
        """Build from nested tables (the shape of `to_dict`)."""
        recipe: TransferRecipe = build(cls, dict(table))
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Nested tables of every field, defaults included; functions as their names."""
        return {
            **dataclasses.asdict(dataclasses.replace(self, augment=Techniques())),
            "augment": self.augment.to_list(),
        }

    def anchored(self, folder: Path) -> TransferRecipe:
        """The same with relative paths starting at a folder."""
        base = self.base
        if base.model:
            base = dataclasses.replace(base, model=anchor(base.model, folder))
        if base.run:
            base = dataclasses.replace(base, run=anchor(base.run, folder))
        task = dataclasses.replace(self.task, path=anchor(self.task.path, folder))
        train = self.train
        if train.templates:
            train = dataclasses.replace(train, templates=anchor(train.templates, folder))
        return dataclasses.replace(self, base=base, task=task, train=train, augment=self.augment.anchored(folder))
