"""What an added language costs the older ones: routed loss of their text, and sentences that are read as another's."""

from __future__ import annotations

from dataclasses import dataclass

from xelm.run.records.ledger import BeforeAfter, LedgerEntry

_NOTED_COST, _NOTED_FALL = 0.05, 0.5
"""Rises of loss, in percent, and falls of the share of sentences read right, in points, that are worth a line."""
_UNREAD = BeforeAfter(None, 0.0)


@dataclass(frozen=True)
class RelativeCost:
    """What one older language pays."""

    language: str
    percent: float
    """Rise of its routed bits per byte (`top1`)."""
    unrepaired_percent: float | None
    """The rise without the newcomer's prior; None if it has none."""
    right_before: float | None
    """Share of its sentences that were read as it, 0 to 1; None: it has none to read."""
    right_after: float | None

    @property
    def noted(self) -> bool:
        """Whether it is worth a line."""
        fell = 100 * ((self.right_before or 0.0) - (self.right_after or 0.0))
        return max(self.percent, self.unrepaired_percent or 0.0) > _NOTED_COST or fell > _NOTED_FALL


def relative_costs(line: LedgerEntry) -> list[RelativeCost]:
    """The older languages that pay something worth a line, the dearest first."""
    right = line.routes.right if line.routes else {}
    costs = []
    for code, bits in line.bits_per_byte.items():
        if code == line.language or not bits.before:
            continue
        without = line.unrepaired.get(code, bits.after) if line.unrepaired else None
        read = right.get(code, _UNREAD)
        costs.append(
            RelativeCost(
                code,
                100 * (bits.after / bits.before - 1),
                None if without is None else 100 * (without / bits.before - 1),
                *((read.before, read.after) if read.before is not None else (None, None)),
            )
        )
    return sorted((cost for cost in costs if cost.noted), key=lambda cost: -cost.percent)


def paid_for_repair(line: LedgerEntry) -> float:
    """Percent by which the newcomer's own bits per byte rise by its prior; 0 without one."""
    code = line.language
    return 100 * (line.bits_per_byte[code].after / line.unrepaired[code] - 1) if line.unrepaired.get(code) else 0.0
