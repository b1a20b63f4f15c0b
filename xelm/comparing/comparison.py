"""`PlanComparison`: the results of comparing plans, as a table, JSON and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json, write_text
from xelm.comparing.statistics import Estimate

FORMAT = "xelm-comparison"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ArmResult:
    """One plan's result.

    Attributes:
        plan: Its name.
        clusters: Per seed, cluster -> languages (measured plans may differ between seeds).
        tokens: Tokens of its experts, all together, by seed.
        measuring_tokens: Tokens that measuring took out of its budget, by seed.
        won: Languages better than dense in the mean over seeds.
        won_by_seed: The same for each seed.
        mean_gain: Gain against dense, percent of bits per byte, mean over languages and seeds.
        gain_by_seed: Mean gain over languages, for each seed.
        gain_by_language: Mean gain over seeds, for each language.
        worst: The language that gains least.
        against_random: Mean gain less that of the random plans, percentage points; None without any (or for one).
        against_typological: The same less that of the typological plan.
        predicted_cost: Sum of measured effects within clusters, by seed; None if nothing was measured.
    """

    plan: str
    clusters: list[dict[str, list[str]]]
    tokens: list[int]
    measuring_tokens: list[int]
    won: int
    won_by_seed: list[int]
    mean_gain: Estimate
    gain_by_seed: list[float]
    gain_by_language: dict[str, float]
    worst: str
    against_random: Estimate | None = None
    against_typological: Estimate | None = None
    predicted_cost: list[float] | None = None

    @property
    def k(self) -> int:
        """Number of experts."""
        return len(self.clusters[0])


@dataclass(frozen=True)
class PlanComparison:
    """Plans side by side on one base and one dense baseline a seed.

    Attributes:
        languages: Codes, sorted.
        seeds: Seeds of the recipe's training.
        kind: Kind of training of experts and dense: `full`, `lora`, …
        dense_tokens: Tokens of the dense baseline, as of every plan's experts together.
        arms: The plans' results, in the order of the request.
        bits: Per seed, `base` and `dense` -> language -> bits per byte on test text.
        rank_correlation: Spearman, over plans of the usual number of clusters, of predicted cost (mean over seeds)
            with gain; None where nothing was measured or plans are few.
        rank_correlation_by_seed: The same for each seed.
        made: The recipe and package versions.
    """

    languages: list[str]
    seeds: list[int]
    kind: str
    dense_tokens: int
    arms: list[ArmResult]
    bits: list[dict[str, dict[str, float]]]
    rank_correlation: Estimate | None = None
    rank_correlation_by_seed: list[float | None] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        gains = ", ".join(f"{arm.plan} {arm.mean_gain.value:+.1f} %" for arm in self.arms)
        return f"PlanComparison({len(self.languages)} languages, {len(self.seeds)} seeds: {gains})"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each plan, as values."""
        return [
            {
                "plan": arm.plan,
                "experts": arm.k,
                "tokens": arm.tokens[0],
                "languages_won": arm.won,
                "mean_gain_percent": arm.mean_gain.value,
                "mean_gain_interval": [arm.mean_gain.low, arm.mean_gain.high],
                "gain_by_seed": arm.gain_by_seed,
                "worst_language": arm.worst,
                "worst_gain_percent": arm.gain_by_language[arm.worst],
                "against_random": _values(arm.against_random),
                "against_typological": _values(arm.against_typological),
                "predicted_cost": arm.predicted_cost,
            }
            for arm in self.arms
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "table": self.table, **asdict(self)}

    def to_json(self) -> str:
        """Everything as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    def to_html(self) -> str:
        """The comparison as one self-contained page, which loads nothing from anywhere."""
        from xelm.comparing.page import render

        return render(self)

    def save(self, path: str | Path) -> None:
        """Write it, complete or not at all; `.html` or `.json` decides the form.

        Raises:
            BadInput: If the suffix is unknown.
        """
        forms = {".html": self.to_html, ".json": self.to_json}
        form = forms.get(Path(path).suffix)
        if form is None:
            raise BadInput(f"{path}: a comparison is written as {' or '.join(forms)}. Choose such a name.")
        write_text(path, form())

    @classmethod
    def load(cls, path: str | Path) -> PlanComparison:
        """Read what `save` wrote as `.json`.

        Raises:
            BadInput: If it is no comparison, or of another version.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BadInput(f"{path}: no comparison of plans; `xelm compare` writes one.")
        if content.get("format_version") != FORMAT_VERSION:
            raise BadInput(f"{path}: format {content.get('format_version')!r}, this program reads {FORMAT_VERSION}.")
        values = {key: content[key] for key in content if key not in ("format", "format_version", "table")}
        values["arms"] = [_arm(arm) for arm in content["arms"]]
        values["rank_correlation"] = _as_estimate(content["rank_correlation"])
        return cls(**values)

    def to_text(self) -> str:
        """A table for the terminal."""
        from tabulate import tabulate

        headers = ["plan", "experts", f"won of {len(self.languages)}", "mean gain %", "95 %", "by seed", "worst",
                   "against random", "against typological", "cost"]  # fmt: skip
        rows = [_row(arm) for arm in self.arms]
        lines = [
            f"gain in bits per byte on test text against dense ({self.kind}, as the experts are), "
            f"{self.dense_tokens:,} tokens an arm, seeds {', '.join(map(str, self.seeds))}",
            tabulate(rows, headers=headers, disable_numparse=True, stralign="right"),
            *self.notes(),
        ]
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """Notes that are needed to read the table."""
        notes = [
            "intervals: test documents drawn with replacement, the same for all plans and dense; seeds as they are"
        ]
        paid = [arm for arm in self.arms if any(arm.measuring_tokens)]
        for arm in paid:
            share = 100 * arm.measuring_tokens[0] / self.dense_tokens
            notes.append(
                f"{arm.plan}: {arm.measuring_tokens[0]:,} tokens ({share:.1f} %) went into measuring, "
                f"its experts got {arm.tokens[0]:,}"
            )
        if self.rank_correlation:
            found = self.rank_correlation
            notes.append(
                f"predicted cost against gain over plans of equal k: Spearman {found.value:+.2f} "
                f"(95 % {found.low:+.2f} to {found.high:+.2f}, plans drawn with replacement)"
            )
        if len(self.seeds) == 1:
            notes.append("one seed: another may change differences of about a percent")
        return notes


def _row(arm: ArmResult) -> list[str]:
    cost = "-" if not arm.predicted_cost else f"{sum(arm.predicted_cost) / len(arm.predicted_cost):+.2f}"
    return [
        arm.plan,
        str(arm.k),
        str(arm.won),
        f"{arm.mean_gain.value:+.2f}",
        interval_text(arm.mean_gain),
        " ".join(f"{gain:+.2f}" for gain in arm.gain_by_seed),
        f"{arm.worst} {arm.gain_by_language[arm.worst]:+.1f}",
        estimate_text(arm.against_random),
        estimate_text(arm.against_typological),
        cost,
    ]


def interval_text(estimate: Estimate) -> str:
    """`+1.20 to +1.40`."""
    return f"{estimate.low:+.2f} to {estimate.high:+.2f}" if estimate.low is not None else "-"


def estimate_text(estimate: Estimate | None) -> str:
    """`+1.30 (+1.20 to +1.40)`."""
    return "-" if estimate is None else f"{estimate.value:+.2f} ({interval_text(estimate)})"


def _values(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else asdict(estimate)


def _as_estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    return Estimate(**value) if value else None


def _arm(value: Mapping[str, Any]) -> ArmResult:
    names: Sequence[str] = ("mean_gain", "against_random", "against_typological")
    return ArmResult(**{**value, **{name: _as_estimate(value[name]) for name in names}})
