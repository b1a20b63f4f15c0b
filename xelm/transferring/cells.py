"""`Cell`: one place of the experiment: a technique, a model, sources, a target, shots and a seed."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = "plain"
OWN = "own"
"""Sources of cells that are taught by the target's own rows, to compare with."""
NONE = "none"
"""Sources of cells that shots alone teach."""


@dataclass(frozen=True)
class Cell:
    """What is measured in one number.

    Attributes:
        technique: Its name in the table.
        policy: Which model of the base.
        head: The way to learn.
        sources: Name of the set of source languages, as in the recipe.
        languages: The languages that teach.
        target: The language of the tests.
        shots: Labelled rows of the target.
        draw: Which drawing of shots.
        seed: Seed of everything random.
    """

    technique: str
    policy: str
    head: str
    sources: str
    languages: tuple[str, ...]
    target: str
    shots: int
    draw: int
    seed: int

    @property
    def row(self) -> tuple[str, str, str, str, int]:
        """The row of the table that it belongs to: technique, policy, head, sources, shots."""
        return (self.technique, self.policy, self.head, self.sources, self.shots)

    def rng_key(self, *more: object) -> list[object]:
        """What seeds a random choice: the same for every technique, source and model."""
        return [self.seed, self.draw, *more]
