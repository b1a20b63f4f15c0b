"""Results of an evaluation: a cell for every model and language, routed figures, and what experts forgot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xelm.recipe.docstrings import fields_in_help
from xelm.run.names import BASE, is_expert
from xelm.run.reading import STRICT, read_as

_MOST = 2**63
"""A number above every count of tokens or bytes."""


@dataclass(frozen=True)
class Cell:
    """How well one model, or one routing policy, reads the text of one language."""

    __pydantic_config__ = STRICT

    nats: float
    """Minus the sum of the tokens' log-probabilities over all documents."""
    tokens: int
    bytes: int
    """Number of bytes of the UTF-8 text."""
    documents: int
    perplexity: float
    """Perplexity of a token."""
    bits_per_byte: float

    def __post_init__(self) -> None:
        for name in ("nats", "tokens", "bytes", "documents", "perplexity", "bits_per_byte"):
            value = getattr(self, name)
            if not 0 <= value < (_MOST if isinstance(value, int) else math.inf):
                raise ValueError(f"{name}={value} must be a number of at least 0")

    @classmethod
    def of(cls, nats: float, tokens: int, num_bytes: int, documents: int) -> Cell:
        """The cell that follows from these sums."""
        return cls(
            nats,
            tokens,
            num_bytes,
            documents,
            # Perplexity of a hopeless model overflows; JSON has no infinity.
            perplexity=math.exp(min(nats / max(tokens, 1), 700)),
            bits_per_byte=nats / math.log(2) / max(num_bytes, 1),
        )


Cells = dict[str, Cell]
"""Language -> cell."""


@dataclass(frozen=True)
class Forgetting:
    """One expert against the base it came from: what it gained on its own languages, and what that cost elsewhere."""

    __pydantic_config__ = STRICT

    change_percent: dict[str, float]
    """Language -> change of bits per byte against the base; negative is better."""
    own_gain_percent: float | None
    """Mean fall of bits per byte on the languages that the expert owns; None if there is no text of them."""
    cost_elsewhere_percent: float | None
    """Mean rise on all other languages; None if there are none."""

    @classmethod
    def of(cls, expert: Mapping[str, Cell], base: Mapping[str, Cell], own: Sequence[str]) -> Forgetting:
        """Compare an expert's cells with the base's on the same text.

        Args:
            expert: The expert's cells by language.
            base: The base's cells by language.
            own: Languages that the expert owns.
        """
        change = {
            code: 100 * (cell.bits_per_byte / base[code].bits_per_byte - 1)
            for code, cell in expert.items()
            if code in base and base[code].bits_per_byte
        }
        at_home = _mean([value for code, value in change.items() if code in own])
        elsewhere = _mean([value for code, value in change.items() if code not in own])
        return cls(change, None if at_home is None else -at_home, elsewhere)


@dataclass(frozen=True)
class Summary:
    """The headline numbers of an evaluation."""

    __pydantic_config__ = STRICT

    languages: int
    """Number of languages compared with dense; if none can be compared, of all languages of the run."""
    wins: int | None = None
    """Of these, how many the routed experts (`top1`) read in fewer bits than dense."""
    mean_gain_percent: float | None = None
    """Bits per byte saved over dense, mean over languages."""
    gain_percent: dict[str, float] = field(default_factory=dict)
    """Language -> bits per byte saved over dense, in percent."""
    mean_gain_percent_by_text: float | None = None
    """The mean gain if each text were routed by the whole of it, as if its language were known beforehand."""
    own_gain_percent: float | None = None
    """Bits per byte that experts save over the base on their own languages, mean over experts."""
    cost_elsewhere_percent: float | None = None
    """Bits per byte that experts need more than the base on all other languages, mean over experts."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; figures that were not measured are left out."""
        return {key: value for key, value in asdict(self).items() if value is not None and value != {}}


@fields_in_help
@dataclass(frozen=True)
class Evaluation:
    """Every model of a run on every language of some text."""

    __pydantic_config__ = STRICT

    split: str
    """The text that was read: `valid`, `test`, or the path of other text."""
    owners: dict[str, str]
    """Language -> the expert that owns it."""
    models: dict[str, Cells]
    """Model -> language -> figures; each model read the same text."""
    routed: dict[str, Cells] = field(default_factory=dict)
    """Routing policy -> language -> figures."""
    routing: str = "text"
    """What the weights of `routed` come from: `prefix`, the text before each token, so that its figures are causal
    probabilities; `text`, the whole text (xelm 0.1, and masked models)."""
    routed_by_text: dict[str, Cells] = field(default_factory=dict)
    """The same as `routed` by the whole text, where `routed` is causal: what knowing the language beforehand saves."""
    right_expert: dict[str, float] = field(default_factory=dict)
    """Language -> share of its documents that were routed to its own expert, 0 to 1."""
    summary: Summary = field(default_factory=lambda: Summary(0))
    """The headline numbers."""
    forgetting: dict[str, Forgetting] = field(default_factory=dict)
    """Expert -> what it gained and forgot."""
    fingerprint: str | None = None
    """Fingerprint of models and text."""

    def __post_init__(self) -> None:
        tables = [*self.models.items(), *self.routed.items()]
        tables += [(f"{name}, by text", cells) for name, cells in self.routed_by_text.items()]
        languages_of = {name: sorted(cells) for name, cells in tables}
        if self.routing not in ("prefix", "text"):
            raise ValueError(f"routing {self.routing!r} is neither prefix nor text")
        if not languages_of or not all(languages_of.values()):
            raise ValueError("there must be figures of at least one model, and none may be without languages")
        first = next(iter(languages_of))
        for name, codes in languages_of.items():
            if codes != languages_of[first]:
                raise ValueError(f"the languages of {name} ({' '.join(codes)}) are not those of {first}")

    @classmethod
    def read(cls, file: Path) -> Evaluation:
        """Read an evaluation from a run's file; if `forgetting` is missing (xelm 0.1), it is computed from the cells.

        Raises:
            BadInput: If the file is damaged.
        """
        result = read_as(cls, file)
        if result.forgetting or BASE not in result.models:
            return result
        return with_forgetting(result)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        table = asdict(self) | {"summary": self.summary.to_dict()}
        if self.fingerprint is None:
            del table["fingerprint"]
        if not self.routed:
            del table["routing"], table["routed_by_text"]
        return table

    def change_by_text(self, policy: str) -> float | None:
        """Change of bits per byte, in percent, if texts were routed by the whole of them; the mean over languages."""
        by_text = self.routed_by_text.get(policy)
        if not by_text:
            return None
        along = self.routed[policy]
        changes = [
            100 * (cell.bits_per_byte / along[code].bits_per_byte - 1)
            for code, cell in by_text.items()
            if along[code].bits_per_byte
        ]
        return _mean(changes)

    def bits(self, model: str) -> dict[str, float]:
        """Bits per byte of a model or policy, by language.

        Raises:
            KeyError: If there is none of that name.
        """
        cells = self.models[model] if model in self.models else self.routed[model]
        return {code: cell.bits_per_byte for code, cell in cells.items()}

    def headline(self) -> dict[str, Any]:
        """The part that the manifest keeps: the summary, and each expert's own gain and cost elsewhere."""
        heads = {
            name: {
                "own_gain_percent": measurement.own_gain_percent,
                "cost_elsewhere_percent": measurement.cost_elsewhere_percent,
            }
            for name, measurement in self.forgetting.items()
        }
        return self.summary.to_dict() | ({"forgetting": heads} if heads else {})


def with_forgetting(result: Evaluation) -> Evaluation:
    """The evaluation with what each expert gained and forgot, also in its summary."""
    base = result.models[BASE]
    table = {
        name: Forgetting.of(cells, base, [code for code, owner in result.owners.items() if owner == name])
        for name, cells in result.models.items()
        if is_expert(name)
    }
    summary = replace(
        result.summary,
        own_gain_percent=_mean([f.own_gain_percent for f in table.values() if f.own_gain_percent is not None]),
        cost_elsewhere_percent=_mean(
            [f.cost_elsewhere_percent for f in table.values() if f.cost_elsewhere_percent is not None]
        ),
    )
    return replace(result, forgetting=table, summary=summary)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
