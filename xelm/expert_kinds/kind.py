"""`ExpertKind`: a kind of expert as one object, read from `[expert]`, with everything that depends on its name."""

from __future__ import annotations

import dataclasses
import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clustering.errors import BadInput
from clustering.registry import Registry
from xelm.models.layer_groups import UNREAD, check_selectors, layer_order, selects
from xelm.models.rows import num_rows, row_weights
from xelm.recipe.parsing import build, check

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

KEY = "[expert] kind"
_AUTO = "auto"
_KEEPING: dict[str, Any] = {"anchor": 0.0, "freeze": (), "replay": 0.0}
"""Keys of every kind that say how an expert keeps what the base knew, with their defaults."""
_VOCABULARY = "vocabulary"
"""The key that is no part of a model's identity: the pieces that were learned are."""
_FIRST_KEYS = {"rank": 16, "alpha": 32, "targets": None, "num_last_layers": 2}
"""Keys of `[expert]` that are, used or not, in the fingerprint of every model of the first three kinds."""


@dataclass(frozen=True, kw_only=True)
class ExpertKind(ABC):
    """How an expert is made from the base. Fields are the keys of `[expert]`, checked when built.

    A subclass is registered under its `kind` by `@expert_kind`; installed packages add kinds by an entry point of the
    group `xelm.expert_kinds`, which names the module that does so.
    """

    kind: str
    """`full`: all weights of a copy; `lora`: low-rank adapters on the shared base; `layers`: own copies of a few
    layers, the rest shared; `last_n_layers`: a copy's last ones. Installed packages may add more."""
    anchor: float | dict[str, float] = 0.0
    """Strength of the pull back to the weights that a training starts from, on the scale of weight_decay (L2-SP): one
    number, or a table of numbers by group of layers, such as `{ embedding = 2.0, layers = 0.5 }`."""
    freeze: tuple[str, ...] | str = ()
    """Weights that stay the base's: `embedding`, `other` (final norm, head), `layers`, `"3"`, `"0-2"`, patterns of
    parameter names such as `"*.mlp.*"`, and `unread`, the rows of pieces that the training text does not contain; or
    `"auto:N"`, the N parts that move least in short trainings before (`"auto"`: half of them)."""
    replay: float = 0.0
    """Share of an expert's blocks that is drawn from the languages of the other experts."""
    vocabulary: int | Literal["auto"] | None = None
    """Pieces of an expert's own, learned from its languages' text by the tokenizer's own algorithm: their number, or
    `"auto"` for as many as make that text as cheap in tokens a word as the languages of the other experts, and none if
    it is already. Kinds without an embedding of their own (`layers`) have no room for them. None: the base's pieces,
    which dense reads in any case."""
    unused: dict[str, Any] = field(default_factory=dict, repr=False)
    """Keys of other kinds that the recipe has, kept so that the kind can be changed back."""

    shares_base: ClassVar[bool] = False
    """Whether an expert is a small change to the run's base, and not a whole model."""

    @classmethod
    def of(cls, **table: Any) -> ExpertKind:
        """A kind of expert by the keys of `[expert]`: `ExpertKind.of(kind="lora", rank=8)`.

        Raises:
            BadInput: For unknown keys and values of the wrong type or range.
        """
        return cls.from_table(table, "expert")

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> ExpertKind:
        """The same of a table of a recipe; `where` is its name, for messages."""
        check(isinstance(table, dict), f"[{where}] must be a table of keys, found {table!r}.")
        name = table.get("kind", "full")
        check(isinstance(name, str), f"{where}.kind = {name!r}: expected str.")
        chosen = EXPERT_KINDS.find(name, f"{where}.kind")
        kinds = [EXPERT_KINDS.find(other) for other in EXPERT_KINDS.names()]
        _refuse_unknown(table, sorted({key for kind in kinds for key in kind.options()}), where)
        if isinstance(alone := table.get("freeze"), str) and not alone.startswith(_AUTO):
            table = {**table, "freeze": [alone]}
        own = {key: value for key, value in table.items() if key in chosen.options()}
        unused = {key: value for key, value in table.items() if key not in own}
        for other in kinds:  # unused keys must be right too
            mine = {key: value for key, value in unused.items() if key in other.options()}
            if mine:
                build(other, {"kind": other.name(), **mine}, where)
        built: ExpertKind = build(chosen, {"kind": name, **own}, where)
        built.check_keeping()
        return dataclasses.replace(built, unused=unused)

    @classmethod
    def name(cls) -> str:
        """Its name in `[expert] kind`."""
        return str(next(item.default for item in dataclasses.fields(cls) if item.name == "kind"))

    @classmethod
    def options(cls) -> list[str]:
        """Keys of `[expert]` that it reads."""
        return [item.name for item in dataclasses.fields(cls) if item.name != "unused"]

    def as_kind(self, name: str) -> ExpertKind:
        """Another kind from the same table of the recipe."""
        return ExpertKind.of(**self.to_dict() | {"kind": name})

    @property
    def anchors(self) -> dict[str, float]:
        """Selector -> strength of the pull (`xelm.training.anchor`)."""
        if isinstance(self.anchor, dict):
            return self.anchor
        return {"*": self.anchor} if self.anchor else {}

    def whole(self) -> ExpertKind:
        """How a base or a full dense baseline is trained: all weights, neither frozen nor pulled, no replay, and the
        run's pieces."""
        return dataclasses.replace(self.as_kind("full"), **_KEEPING, vocabulary=None)

    @property
    def holds_unread(self) -> bool:
        """Whether rows of pieces that are not in its text stay as they are."""
        return not isinstance(self.freeze, str) and UNREAD in self.freeze

    @property
    def keeping(self) -> dict[str, Any]:
        """The fields of `xelm.training.stage.Stage` that keep weights where a training starts."""
        return {"anchor": self.anchors, "hold_unread": self.holds_unread}

    def alone(self) -> ExpertKind:
        """The same with no text of other languages, and with the run's pieces."""
        return dataclasses.replace(self, replay=0.0, vocabulary=None)

    def to_dict(self) -> dict[str, Any]:
        """The table of the recipe, defaults and unused keys included."""
        table = dataclasses.asdict(self)
        unused: dict[str, Any] = table.pop("unused")
        return table | unused

    def without_effect(self) -> list[str]:
        """Keys that the recipe sets to something and this kind does not read."""
        defaults: dict[str, Any] = {}
        for other in map(EXPERT_KINDS.find, EXPERT_KINDS.names()):
            defaults |= other().to_dict()  # type: ignore[call-arg]
        return [key for key, value in self.unused.items() if value != defaults[key] and value is not None]

    def identity(self) -> dict[str, Any]:
        """The settings that decide a model's weights, for its fingerprint."""
        table = dataclasses.asdict(self)
        del table["unused"], table[_VOCABULARY]
        return {key: value for key, value in table.items() if key not in _KEEPING or value != _KEEPING[key]}

    def check_keeping(self) -> None:
        """Refuse values of the keys that all kinds have.

        Raises:
            BadInput: If one is out of range.
        """
        strengths = self.anchors
        wrong = {key: value for key, value in strengths.items() if not 0 <= value < float("inf")}
        if isinstance(self.freeze, str) and self.freeze != _AUTO:
            auto_number(self.freeze, "freeze")
        check(not wrong, f"[expert] anchor = {self.anchor}: a strength is a number of at least 0.")
        check(
            0 <= self.replay < 1,
            f"[expert] replay = {self.replay} is a share of the blocks: choose 0 up to, but not, 1.",
        )
        if self.vocabulary is not None:
            self._check_vocabulary()

    def _check_vocabulary(self) -> None:
        asked = f"[expert] vocabulary = {self.vocabulary!r}"
        check(
            self.vocabulary == "auto" or int(self.vocabulary or 0) >= 1,
            f'{asked}: a number of pieces from 1 up, or "auto".',
        )
        check(
            self.takes_rows(),
            f'{asked} gives the embedding new rows, and experts of the kind "{self.kind}" have no embedding of their '
            'own: use kind = "full" or "lora", or leave vocabulary out.',
        )
        frozen = "embedding" in self.freeze or isinstance(self.freeze, str)
        check(
            not frozen,
            f"{asked} trains rows of the embedding, which freeze = {self.freeze!r} would keep as they are: name the "
            "layers to freeze, without the embedding, or leave vocabulary out.",
        )

    @classmethod
    def takes_rows(cls) -> bool:
        """Whether an expert can have rows of the vocabulary that the base lacks."""
        return not cls.shares_base

    @property
    def is_auto(self) -> bool:
        """Whether layers are left to be measured."""
        return isinstance(self.freeze, str)

    def settled(self, differences: Mapping[str, float], moves: Mapping[str, float]) -> dict[str, Any]:
        """The fields that are left to be measured, with their values.

        Args:
            differences: Layer -> how differently it moves for languages of different clusters.
            moves: Layer -> how far it moves.
        """
        if not isinstance(self.freeze, str):
            return {}
        number = len(moves) // 2 if self.freeze == _AUTO else auto_number(self.freeze, "freeze")
        check(number < len(moves), f"[expert] freeze = {self.freeze!r}, but there are {len(moves)} parts: name fewer.")
        least = sorted(moves, key=lambda layer: (moves[layer], layer))[:number]
        return {"freeze": tuple(sorted(least, key=layer_order))}

    def stand_in(self) -> ExpertKind:
        """The same with other layers of the same number where they are left to be measured: for sizes and checks."""
        return dataclasses.replace(self, freeze=()) if isinstance(self.freeze, str) else self

    def make_trainable(self, model: PreTrainedModel) -> Any:
        """`prepare` a model, and freeze what the recipe names.

        Raises:
            BadInput: If the model lacks a part that the options name, or nothing is left to train.
        """
        prepared = self.prepare(model)
        trained = {name: p for name, p in prepared.named_parameters() if p.requires_grad}
        check_selectors([key for key in self.anchors if key != "*"], trained, "[expert] anchor")
        if isinstance(self.freeze, str):
            raise BadInput(
                f'[expert] freeze = "{self.freeze}" is settled when a run is trained; here, name the layers.'
            )
        layers = [selector for selector in self.freeze if selector != UNREAD]
        check_selectors(layers, trained, "[expert] freeze")
        frozen = [name for name in trained if any(selects(selector, name) for selector in layers)]
        check(len(frozen) < len(trained), f"[expert] freeze = {list(self.freeze)}: nothing is left to train.")
        for name in frozen:
            trained[name].requires_grad_(False)
        if self.holds_unread:
            check(
                bool(row_weights(prepared, num_rows(model.config))),
                f'[expert] freeze: "{UNREAD}" names rows of an embedding or a head, and none of them trains here.',
            )
        return prepared

    @abstractmethod
    def prepare(self, model: PreTrainedModel) -> Any:
        """Choose which weights of the base's copy train, in place, or wrap it; parameters that require gradients train.

        A model from an earlier `load(trainable=True)` of this kind is trained further without a change.

        Raises:
            BadInput: If the model lacks a part that the options name.
        """

    def save(self, model: Any, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
        """Write a trained expert; the folder opens without xelm (transformers, peft) where the kind allows it.

        Args:
            model: The trained model from `prepare`.
            folder: The folder to make.
            weights: Complete tensors, if several processes hold the model in parts.
        """
        model.save_pretrained(folder, state_dict=weights)

    @classmethod
    def load(cls, folder: Path, base: Path, load: Callable[[Path], Any], *, trainable: bool = False) -> Any:
        """A saved expert as a model of transformers.

        Args:
            folder: What `save` wrote.
            base: The run's base.
            load: Loads a plain checkpoint.
            trainable: Whether it will be trained further rather than answer.
        """
        return load(folder)

    @classmethod
    def move_back(
        cls, folder: Path, base: Path, keep: float, put_back: Sequence[str] = (), rows: Collection[int] = ()
    ) -> None:
        """Move a saved expert part of the way back to the base, in place: base + keep × (expert - base).

        Args:
            folder: What `save` wrote, or a copy; its files are replaced whole.
            base: The run's base.
            keep: Share of the way that is kept, 0 to 1.
            put_back: Selectors of weights (`xelm.models.layer_groups`) of which nothing is kept.
            rows: Rows of the vocabulary of which nothing is kept; none for a kind that shares the base's.

        Raises:
            BadInput: If this is impossible for this expert.
        """
        from xelm.models.interpolation import move_back

        move_back(folder, base, keep, put_back, rows)

    @classmethod
    def cannot_share(cls, folder: Path) -> str | None:
        """Why a saved expert cannot be served on a base that others share; None if it can. For `shares_base`."""
        return f"{cls.name()} experts are whole models"

    @classmethod
    def serve(cls, base: Any, folders: Mapping[str, Path | None]) -> Any:
        """Experts on one base in memory, read on first use; only for kinds with `shares_base`.

        Args:
            base: The run's base as a model.
            folders: Expert -> what `save` wrote; None: the bare base.

        Returns:
            What `router.generation` and `router.scoring` take: `get`, `get_many`, `for_rows` (see
            `router.models.lora_source.LoraSource`).
        """
        raise NotImplementedError(f"{cls.__name__} experts do not share a base.")

    def trained_parameters(self, model: PreTrainedModel) -> int:
        """Number of parameters that get a gradient. The model's weights take no memory; the model may be changed."""
        return sum(p.numel() for p in self.make_trainable(model).parameters() if p.requires_grad)


EXPERT_KINDS: Registry[type[ExpertKind]] = Registry(
    "kind of expert", package="xelm.expert_kinds", group="xelm.expert_kinds"
)


def expert_kind(cls: type[ExpertKind]) -> type[ExpertKind]:
    """Register a kind of expert under the default of its field `kind`."""
    return EXPERT_KINDS.register(cls.name(), cls)


def first_identity(kind: ExpertKind) -> dict[str, Any]:
    """The table of the first three kinds for fingerprints: all their keys, and later keys if they are set."""
    defaults = {item.name: item.default for item in dataclasses.fields(kind)}
    table = dataclasses.asdict(kind)
    del table[_VOCABULARY]
    unused = {key: value for key, value in table.pop("unused").items() if key in _FIRST_KEYS}
    own = {key: v for key, v in table.items() if key in ("kind", *_FIRST_KEYS) or v != defaults[key]}
    return {**_FIRST_KEYS, **unused, **own}


def auto_number(value: str, key: str) -> int:
    """The number of layers that `auto:N` asks for.

    Raises:
        BadInput: If the value has another form.
    """
    found = re.fullmatch(r"auto:(\d+)", value)
    number = int(found[1]) if found else 0
    check(number >= 1, f'[expert] {key} = "{value}": write "auto:N" with how many layers, or name them in a list.')
    return number


def _refuse_unknown(table: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
            raise BadInput(f"unknown key '{key}' in [{where}]: {hint}")
