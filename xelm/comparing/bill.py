"""The tokens that a comparison will train on, before anything is spent."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xelm.comparing.compare import trial_of, trials_of
from xelm.comparing.plans import make_plans, parse_plans
from xelm.measuring.branches import plan_branches
from xelm.recipe.recipe import Recipe
from xelm.trials.place import Place


@dataclass(frozen=True)
class Bill:
    """Tokens of one seed's trainings."""

    seeds: int
    base: int
    """Tokens of the base; 0 if the base is only copied."""
    dense: int
    measuring: int
    arms: dict[str, dict[str, int | None]]
    """Plan -> `experts`, `tokens`, and `new_tokens` of experts that no earlier plan has; None: measured first."""

    @property
    def total(self) -> int:
        """Largest number of all tokens; measured plans may share experts with others and need fewer."""
        new = sum(row["new_tokens"] or 0 for row in self.arms.values())
        unknown = sum(1 for row in self.arms.values() if row["new_tokens"] is None)
        return self.seeds * (self.base + self.dense + self.measuring + new + unknown * self.dense)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "total": self.total}

    def to_text(self) -> str:
        """A table for the terminal."""
        from tabulate import tabulate

        rows: list[list[str]] = [["base", "", f"{self.base:,}"], ["dense", "", f"{self.dense:,}"]]
        if self.measuring:
            rows.append(["measuring", "", f"{self.measuring:,}"])
        for name, row in self.arms.items():
            new = "by measuring" if row["new_tokens"] is None else f"{row['new_tokens']:,}"
            rows.append([name, str(row["experts"] or "?"), new])
        table = tabulate(rows, headers=["training", "experts", "tokens"], disable_numparse=True, stralign="right")
        many = "" if self.seeds == 1 else f" over {self.seeds} seeds"
        return f"{table}\nat most {self.total:,} tokens{many}; experts that two plans share are trained once"


def bill(
    recipe: str | Path | Recipe,
    plans: str | Sequence[str],
    seeds: int,
    out: str | Path,
    *,
    overrides: tuple[str, ...] = (),
    share: float,
) -> Bill:
    """Read everything, make the plans that need no measuring, and count tokens; nothing is left behind.

    Raises:
        BadInput: As `compare_plans` would.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    arms = parse_plans(plans)
    with tempfile.TemporaryDirectory() as scratch:
        place = Place.prepare(recipe, Path(scratch))
        known = make_plans([arm for arm in arms if not arm.needs_effects], place, recipe, None)
        branches = plan_branches(place, share, for_plan=True) if any(arm.needs_effects for arm in arms) else None
        base, length = place.workspace.budget.base, place.sequence_length
        seen, rows = set(), dict[str, dict[str, int | None]]()
        for arm in arms:
            if arm.name not in known:
                rows[arm.name] = {"experts": None, "tokens": None, "new_tokens": None}
                continue
            trials = trials_of(place, known[arm.name])
            new = [trial for trial in trials if trial not in seen]
            seen.update(trials)
            tokens, fresh = (sum(sum(t.blocks) for t in some) * length for some in (trials, new))
            rows[arm.name] = {"experts": len(trials), "tokens": tokens, "new_tokens": fresh}
        dense = sum(trial_of(place, place.codes).blocks) * length
    return Bill(seeds, base.tokens if base else 0, dense, branches.total if branches else 0, rows)
