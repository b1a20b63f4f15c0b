"""The budget of a run before anything is trained: tokens, steps, epochs, memory and disk of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from xelm.corpus.draw import apportion
from xelm.corpus.mixture import Phase, mixture, with_replay
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budgets.steps import StageBudget, steps_of
from xelm.models.base import empty_model
from xelm.objectives.head import CHUNK_BYTES, LOGITS_HELD, is_chunked
from xelm.objectives.objective import Objective
from xelm.recipe.docstrings import fields_in_help
from xelm.recipe.recipe import Train
from xelm.run.names import BASE, DENSE

if TYPE_CHECKING:
    from clustering import ClusterPlan
    from xelm.making.budgets.probe import Speed

_MANY_EPOCHS = 40
_GIB = 2**30


@fields_in_help
@dataclass(frozen=True)
class Budget:
    """All stages of a run; the experts' tokens sum to the dense baseline's, by construction."""

    base: StageBudget | None
    """The base's own training; None: it is not trained here."""
    experts: dict[str, StageBudget]
    """Expert -> its training."""
    dense: StageBudget | None
    """The dense baseline's training; None: there is none."""
    num_parameters: int
    """Parameters of the base."""
    memory_gib: float
    """Memory of one training process: weights, gradients, optimizer and a rough figure for activations."""
    disk_gib: float
    """Disk that the run takes, checkpoints included."""
    loss: str
    """How the loss is computed, in words."""
    warnings: list[str]
    """Sentences on what may go wrong."""
    speed: Speed | None = None
    """Measured by a dry run."""
    own_pieces: dict[str, int] = field(default_factory=dict)
    """Expert -> number of its own pieces, of the experts that have some."""

    def stages(self) -> list[StageBudget]:
        """Every stage, in the order in which they run."""
        return [s for s in (self.base, *self.experts.values(), self.dense) if s]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """A table for the terminal."""
        from tabulate import tabulate

        rows = []
        for stage in self.stages():
            of_own = [stage.epochs[code] for code in stage.own]
            low, high = min(of_own), max(of_own)
            epochs = f"{low:.1f}" if high - low < 0.05 else f"{low:.1f}-{high:.1f}"
            codes = " ".join(stage.own) + (f" + {len(stage.replayed)} replayed" if stage.replayed else "")
            rows.append([stage.name, codes, stage.steps, f"{stage.tokens:,}", epochs])
        table = tabulate(rows, headers=["stage", "languages", "steps", "tokens", "epochs"], colalign=("left", "left"))
        total = sum(stage.tokens for stage in self.experts.values())
        lines = [
            table,
            f"experts together: {total:,} tokens; dense baseline: {self.dense.tokens if self.dense else 0:,} tokens",
            f"{self.num_parameters:,} parameters; about {self.memory_gib:.2f} GiB of memory while training, "
            f"{self.disk_gib:.2f} GiB of disk for the run; loss {self.loss}",
        ]
        if self.own_pieces:
            found = ", ".join(f"{name} {number:,}" for name, number in self.own_pieces.items())
            lines.append(f"pieces of their own, which their tokens and epochs are counted in: {found}")
        if self.speed:
            lines.append(self.speed.to_text())
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def make_budget(
    train: Train,
    plan: ClusterPlan,
    num_blocks: Mapping[str, int],
    sequence_length: int,
    size: ModelSize,
    *,
    base_tokens: int | None = None,
    replay: float = 0.0,
    own_blocks: Mapping[str, Mapping[str, int]] | None = None,
) -> Budget:
    """Share out the tokens of a run.

    Args:
        train: Totals and how they are shared.
        plan: Languages of each expert.
        num_blocks: Training blocks there are of each language.
        sequence_length: Tokens of a block.
        size: The size of its models.
        base_tokens: Tokens of the base's own training; None: it is not trained here.
        replay: Share of an expert's blocks that come from the other experts' languages.
        own_blocks: Expert -> training blocks of each language in pieces of its own.

    Raises:
        BadInput: If the budget of some expert is less than a step.
    """
    stages = _Stages(train, num_blocks, sequence_length)
    total_steps = stages.steps_of(train.tokens)
    whole = stages.of_all(DENSE, total_steps)
    steps = _expert_steps(train, plan, whole.shares, total_steps, train.batch_size * sequence_length)
    base = None if base_tokens is None else stages.of_all(BASE, stages.steps_of(base_tokens))
    read = {name: replace(stages, num_blocks=blocks) for name, blocks in (own_blocks or {}).items()}
    experts = {
        name: read.get(name, stages).of_expert(name, codes, steps[name], whole.shares, replay)
        for name, codes in plan.clusters.items()
    }
    return Budget(
        base=base,
        experts=experts,
        dense=whole if train.dense else None,
        num_parameters=size.parameters,
        memory_gib=_memory_gib(train, size, sequence_length, whole=base is not None or train.dense == "full"),
        disk_gib=_disk_gib(train, size, len(experts)),
        loss=_loss(train, size, sequence_length),
        warnings=_warnings(base, experts, size.parameters),
    )


@dataclass(frozen=True)
class _Stages:
    """Makes the stages of a run from the blocks that there are."""

    train: Train
    num_blocks: Mapping[str, int]
    sequence_length: int

    def steps_of(self, tokens: int) -> int:
        """Whole steps of so many tokens."""
        return steps_of(tokens, batch_size=self.train.batch_size, sequence_length=self.sequence_length)

    def of_all(self, name: str, steps: int) -> StageBudget:
        """A training on all languages."""
        everyone = {code: self.num_blocks[code] for code in sorted(self.num_blocks)}
        return self._stage(name, steps, mixture(everyone, self.train, steps * self.train.batch_size))

    def of_expert(
        self, name: str, codes: list[str], steps: int, shares: Mapping[str, float], replay: float
    ) -> StageBudget:
        """A training on some languages, which mix as in a training on all of them, and a share of the others."""
        total_draws = self.steps_of(self.train.tokens) * self.train.batch_size
        own = mixture(self.num_blocks, self.train, total_draws, codes=codes)
        others = {code: share for code, share in shares.items() if code not in codes}
        if not replay or not others:
            return self._stage(name, steps, own)
        return replace(self._stage(name, steps, with_replay(own, others, replay)), replayed=tuple(others))

    def _stage(self, name: str, steps: int, phases: list[Phase]) -> StageBudget:
        sizes = {"batch_size": self.train.batch_size, "sequence_length": self.sequence_length}
        return StageBudget.of(name, steps, phases, self.num_blocks, **sizes)


def _expert_steps(
    train: Train, plan: ClusterPlan, shares: Mapping[str, float], total_steps: int, step_tokens: int
) -> dict[str, int]:
    """The steps of each expert, which sum to all.

    Raises:
        BadInput: If one gets none.
    """
    weight = {
        name: sum(shares[code] for code in codes) if train.share == "languages" else 1.0
        for name, codes in plan.clusters.items()
    }
    steps = apportion(total_steps, weight)
    if starved := [name for name, count in steps.items() if count == 0]:
        raise BadInput(
            f"[train] tokens={train.tokens} leaves no step of {step_tokens} tokens for {', '.join(starved)}. "
            f"Raise tokens, or lower batch_size or sequence_length."
        )
    return steps


@dataclass(frozen=True)
class ModelSize:
    """What the memory and the disk of a run's models depend on."""

    parameters: int
    trained: int
    """Parameters of an expert that get a gradient."""
    stored: int
    """Parameters of an expert that its folder holds."""
    weight_bytes: int
    """Bytes of a weight."""
    layers: int
    hidden_size: int
    vocab_size: int
    heads: int = 1
    """Matrices with a row for each piece: 2 if the head has weights of its own."""

    def with_rows(self, number: int) -> ModelSize:
        """The same with experts that have so many more pieces."""
        more = number * self.hidden_size * self.heads
        return replace(self, trained=self.trained + more, stored=self.stored + more)

    @classmethod
    def of(cls, config: Any, expert: ExpertKind, objective: Objective, dtype: str) -> ModelSize:
        """Count the parameters, without allocating them.

        Args:
            config: transformers configuration of the base.
            expert: How experts are trained.
            objective: What they are trained to do, which decides the head.
            dtype: `[base] dtype`.
        """
        parameters = count_parameters(config, objective)
        trained = expert.trained_parameters(empty_model(config, objective))
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        return cls(
            parameters,
            trained,
            stored=trained if expert.shares_base else parameters,
            weight_bytes=2 if dtype == "bfloat16" else 4,
            layers=getattr(text, "num_hidden_layers", 12),
            hidden_size=getattr(text, "hidden_size", 1024),
            vocab_size=getattr(text, "vocab_size", 32000),
            heads=1 if getattr(text, "tie_word_embeddings", True) else 2,
        )


def count_parameters(config: Any, objective: Objective) -> int:
    """Count the parameters of a model of this configuration, without allocating them."""
    return sum(p.numel() for p in empty_model(config, objective).parameters())


def _memory_gib(train: Train, size: ModelSize, sequence_length: int, *, whole: bool) -> float:
    """Memory of the largest training: of all weights (the base's, a full dense baseline's), else of an expert's."""
    trained = size.parameters if whole else size.trained
    micro = train.micro_batch_size or train.batch_size
    layers = 1 if train.gradient_checkpointing else size.layers
    # 34 hidden-sized values a token and layer (Korthikanti et al. 2022, eq. 1, without attention scores).
    positions = micro * sequence_length
    in_chunks = is_chunked(train.loss, positions=positions, vocab_size=size.vocab_size)
    logits = CHUNK_BYTES if in_chunks else positions * LOGITS_HELD * size.vocab_size * 4
    activations = positions * layers * 34 / 2 * size.hidden_size * 4 + logits
    moments = 2 if train.optimizer == "adamw8bit" else 8
    return (size.parameters * size.weight_bytes + trained * (size.weight_bytes + moments) + activations) / _GIB


def _loss(train: Train, size: ModelSize, sequence_length: int) -> str:
    positions = (train.micro_batch_size or train.batch_size) * sequence_length
    gib = LOGITS_HELD * 4 * positions * size.vocab_size / _GIB
    in_chunks = is_chunked(train.loss, positions=positions, vocab_size=size.vocab_size)
    way = "in chunks, without" if in_chunks else "from"
    return f"{way} the logits of {positions:,} positions ({gib:.2f} GiB)"


def _disk_gib(train: Train, size: ModelSize, num_experts: int) -> float:
    dense = {True: size.stored, False: 0, "full": size.parameters}[train.dense]
    checkpoint = 3 * size.parameters * train.keep_checkpoints  # weights and two moments
    # That at the end of the stable phase stays, so that the training can be made longer.
    kept = 3 * size.trained * (num_experts + bool(train.dense)) if train.schedule == "wsd" else 0
    return (size.parameters + dense + num_experts * size.stored + checkpoint + kept) * size.weight_bytes / _GIB


def _warnings(base: StageBudget | None, experts: dict[str, StageBudget], parameters: int) -> list[str]:
    warnings = []
    for stage in experts.values():
        for code, epochs in stage.epochs.items():
            if epochs > _MANY_EPOCHS:
                warnings.append(f"{code}: its text is read {epochs:.0f} times by {stage.name}; expect overfitting.")
    # Measured on 16 languages: 0.84 M parameters after 1.0 M tokens of base lost to dense, 0.11 M after 6.1 M won.
    if base and base.tokens < 10 * parameters:
        warnings.append(
            f"the base gets {base.tokens / parameters:.1f} tokens a parameter. Experts beat a dense model once the "
            "base has stopped gaining from more of everything; below about 10 the dense baseline often wins."
        )
    return warnings
