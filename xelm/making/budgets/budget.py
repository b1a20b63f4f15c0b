"""The budget of a run before anything is trained: tokens, steps, epochs, memory and disk of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from xelm.corpus.draw import apportion
from xelm.corpus.mixture import Phase, mean_shares, mixture, with_replay
from xelm.making.budgets.steps import StageBudget, steps_of
from xelm.models.base import empty_model
from xelm.objectives.objective import Objective
from xelm.recipe.recipe import Recipe

if TYPE_CHECKING:
    from clustering import ClusterPlan
    from xelm.making.budgets.probe import Speed

_MANY_EPOCHS = 40
_GIB = 2**30


@dataclass(frozen=True)
class Budget:
    """All stages of a run; the experts' tokens sum to the dense baseline's, by construction."""

    base: StageBudget | None
    experts: dict[str, StageBudget]
    dense: StageBudget | None
    num_parameters: int
    memory_gib: float
    """Memory of one training process: weights, gradients, optimizer and a rough figure for activations."""
    disk_gib: float
    warnings: list[str]
    speed: Speed | None = None
    """Measured by a dry run."""

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
            f"{self.disk_gib:.2f} GiB of disk for the run",
        ]
        if self.speed:
            lines.append(self.speed.to_text())
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def make_budget(
    recipe: Recipe, plan: ClusterPlan, num_blocks: Mapping[str, int], sequence_length: int, config: Any
) -> Budget:
    """Share out the tokens of a recipe.

    Args:
        recipe: Totals and how they are shared.
        plan: Languages of each expert.
        num_blocks: Training blocks there are of each language.
        sequence_length: Tokens of a block.
        config: The model's transformers configuration, which decides its size.

    Raises:
        BadInput: If the budget of some expert is less than a step.
    """
    step_tokens = recipe.train.batch_size * sequence_length
    size = {"batch_size": recipe.train.batch_size, "sequence_length": sequence_length}
    total_steps = steps_of(recipe.train.tokens, **size)
    everyone = {code: num_blocks[code] for code in sorted(num_blocks)}
    total_draws = total_steps * recipe.train.batch_size
    whole = mixture(everyone, recipe.train, total_draws)
    shares = mean_shares(whole)
    weight = {
        name: sum(shares[code] for code in codes) if recipe.train.share == "languages" else 1.0
        for name, codes in plan.clusters.items()
    }
    steps = apportion(total_steps, weight)
    starved = [name for name, count in steps.items() if count == 0]
    if starved:
        raise BadInput(
            f"[train] tokens={recipe.train.tokens} leaves no step of {step_tokens} tokens for {', '.join(starved)}. "
            f"Raise tokens, or lower batch_size or sequence_length."
        )

    def stage(name: str, count: int, phases: list[Phase]) -> StageBudget:
        return StageBudget.of(name, count, phases, num_blocks, **size)

    base = None
    if recipe.base.new:
        base_steps = steps_of(recipe.base.new.tokens, **size)
        base = stage("base", base_steps, mixture(everyone, recipe.train, base_steps * recipe.train.batch_size))

    def expert(name: str, codes: list[str]) -> StageBudget:
        own = mixture(num_blocks, recipe.train, total_draws, codes=codes)
        others = {code: share for code, share in shares.items() if code not in codes}
        if not recipe.expert.replay or not others:
            return stage(name, steps[name], own)
        phases = with_replay(own, others, recipe.expert.replay)
        return replace(stage(name, steps[name], phases), replayed=tuple(others))

    experts = {name: expert(name, codes) for name, codes in plan.clusters.items()}
    dense = stage("dense", total_steps, whole) if recipe.train.dense else None
    model = ModelSize.of(recipe, config)
    return Budget(
        base=base,
        experts=experts,
        dense=dense,
        num_parameters=model.parameters,
        memory_gib=_memory_gib(recipe, model, sequence_length, config),
        disk_gib=_disk_gib(recipe, model, len(experts)),
        warnings=_warnings(recipe, base, experts, model.parameters),
    )


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a run's models."""

    parameters: int
    trained: int
    """Parameters of an expert that get a gradient."""
    stored: int
    """Parameters of an expert that its folder holds."""

    @classmethod
    def of(cls, recipe: Recipe, config: Any) -> ModelSize:
        """Count the parameters, without allocating them."""
        parameters = count_parameters(config, recipe.objective)
        trained = recipe.expert.trained_parameters(empty_model(config, recipe.objective))
        return cls(parameters, trained, trained if recipe.expert.shares_base else parameters)


def count_parameters(config: Any, objective: Objective) -> int:
    """Count the parameters of a model of this configuration, without allocating them."""
    return sum(p.numel() for p in empty_model(config, objective).parameters())


def _memory_gib(recipe: Recipe, size: ModelSize, sequence_length: int, config: Any) -> float:
    """Memory of the largest training: the base's or a full dense baseline's if there is one, else an expert's."""
    weight_bytes = 2 if recipe.base.dtype == "bfloat16" else 4
    whole = recipe.base.new or recipe.train.dense == "full"
    trained = size.parameters if whole else size.trained
    micro = recipe.train.micro_batch_size or recipe.train.batch_size
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    layers = 1 if recipe.train.gradient_checkpointing else getattr(text, "num_hidden_layers", 12)
    # 34 hidden-sized values a token and layer (Korthikanti et al. 2022, eq. 1, without attention scores);
    # logits are held three times: in the model's type, in fp32, and their gradient.
    values = layers * 34 / 2 * getattr(text, "hidden_size", 1024) + 3 * getattr(text, "vocab_size", 32000)
    activations = micro * sequence_length * values * 4
    return (size.parameters * weight_bytes + trained * (weight_bytes + 8) + activations) / _GIB


def _disk_gib(recipe: Recipe, size: ModelSize, num_experts: int) -> float:
    dense = {True: size.stored, False: 0, "full": size.parameters}[recipe.train.dense]
    checkpoint = 3 * size.parameters  # weights and two moments
    stored = size.parameters + dense + num_experts * size.stored + checkpoint
    return stored * (2 if recipe.base.dtype == "bfloat16" else 4) / _GIB


def _warnings(recipe: Recipe, base: StageBudget | None, experts: dict[str, StageBudget], parameters: int) -> list[str]:
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
