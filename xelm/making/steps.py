"""From tokens to steps: the one planner of every training, of a recipe's models and of languages added later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_phases
from xelm.corpus.mixture import Phase, mean_shares, phase_counts
from xelm.recipe.recipe import Train
from xelm.training.stage import Stage

if TYPE_CHECKING:
    from xelm.objectives.objective import Batches


@dataclass(frozen=True)
class StageBudget:
    """What one training gets."""

    name: str
    steps: int
    tokens: int
    epochs: dict[str, float]
    """Per language: how often its training text is read."""
    shares: dict[str, float]
    """Per language: share of the stage's blocks; sums to 1."""
    counts: list[dict[str, int]]
    """For each phase of the mixture: blocks of each language."""

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
            name: Of the training.
            steps: Optimizer steps.
            phases: How languages mix, one after another.
            num_blocks: Training blocks there are of each language.
            batch_size: Blocks of a step.
            sequence_length: Tokens of a block.
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
        **options: Any,
    ) -> Stage:
        """The training itself: every block in the order it is read.

        Args:
            blocks: Of all its languages, or of more.
            settings: `[train]`.
            checkpoints: Folder of its checkpoints while it runs.
            batches: What the objective makes of blocks.
            options: `valid`, `log_folder` of `Stage`.
        """
        mine = {code: blocks[code] for code in self.shares}
        num_blocks = {code: len(found) for code, found in mine.items()}
        order = draw_phases(num_blocks, self.counts, seed=settings.seed, name=self.name)
        return Stage(self.name, order, mine, settings.learning_rate, settings, checkpoints, batches=batches, **options)


def steps_of(tokens: int, *, batch_size: int, sequence_length: int) -> int:
    """Optimizer steps of a number of tokens: the nearest whole number, at least one."""
    return max(1, round(tokens / (batch_size * sequence_length)))
