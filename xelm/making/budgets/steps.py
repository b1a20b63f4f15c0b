"""From tokens to steps: the planner of every training, of a recipe's models and of languages added later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_phases, open_order
from xelm.corpus.mixture import Phase, mean_shares, phase_counts
from xelm.recipe.recipe import Train
from xelm.training.stage import Stage

if TYPE_CHECKING:
    from xelm.objectives.objective import Batches


@dataclass(frozen=True)
class StageBudget:
    """The budget of one training."""

    name: str
    steps: int
    tokens: int
    epochs: dict[str, float]
    """For each language: how often its training text is read."""
    shares: dict[str, float]
    """For each language: its share of the stage's blocks; they sum to 1."""
    counts: list[dict[str, int]]
    """For each phase of the mixture: the number of blocks of each language."""
    replayed: tuple[str, ...] = ()
    """Languages of other experts, of which it reads some text too."""

    @property
    def own(self) -> list[str]:
        """Languages of the model that is trained."""
        return [code for code in self.epochs if code not in self.replayed]

    @classmethod
    def of(
        cls,
        name: str,
        steps: int,
        phases: list[Phase],
        num_blocks: Mapping[str, int],
        *,
        batch_size: int,
        sequence_length: int,
    ) -> StageBudget:
        """Share out the blocks of a number of steps.

        Args:
            name: Name of the training.
            steps: Optimizer steps.
            phases: How languages mix, one after another.
            num_blocks: Number of training blocks of each language.
            batch_size: Number of blocks of a step.
            sequence_length: Number of tokens of a block.
        """
        counts = phase_counts(phases, steps * batch_size)
        shares = mean_shares(phases)
        drawn = {code: sum(phase.get(code, 0) for phase in counts) for code in shares}
        epochs = {code: number / num_blocks[code] for code, number in drawn.items()}
        return cls(name, steps, steps * batch_size * sequence_length, epochs, shares, counts)

    def stage(
        self,
        blocks: Mapping[str, Blocks],
        settings: Train,
        checkpoints: Path,
        *,
        batches: Batches,
        stable: Path | None = None,
        **options: Any,
    ) -> Stage:
        """The training itself, with every block in the order in which it is read.

        Args:
            blocks: Blocks of at least its languages.
            settings: The `[train]` section of the recipe.
            checkpoints: Folder of its checkpoints while it runs.
            batches: Turns blocks into batches, as the objective needs them.
            stable: For a training that can be made longer, the folder of the checkpoint from which it is.
            options: The fields `valid` and `log_folder` of `Stage`, and those that keep weights where they start.
        """
        mine = {code: blocks[code] for code in self.shares}
        num_blocks = {code: len(found) for code, found in mine.items()}
        if stable is None:
            order = draw_phases(num_blocks, self.counts, seed=settings.seed, name=self.name)
        else:
            draws = self.steps * settings.batch_size
            order = open_order(num_blocks, self.shares, draws, seed=settings.seed, name=self.name)
        return Stage(
            *(self.name, order, mine, settings.learning_rate, settings, checkpoints),
            **{"batches": batches, "stable": stable, **options},
        )


def steps_of(tokens: int, *, batch_size: int, sequence_length: int) -> int:
    """Number of optimizer steps for a number of tokens: the nearest whole number, at least one."""
    return max(1, round(tokens / (batch_size * sequence_length)))
