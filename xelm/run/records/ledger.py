"""The ledger of a run: for each language that was added, where its expert came from and what the addition changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from router.routes.weigh import SHARED
from xelm.run.reading import STRICT
from xelm.run.records.results import Forgetting

Kind = Literal["new", "join"]
"""How a language is added: `new` gives it an expert of its own; with `join`, the donor's expert learns it too."""


@dataclass(frozen=True)
class DonorCandidate:
    """The evidence for and against one model of the run as the donor."""

    __pydantic_config__ = STRICT

    name: str
    distance: float | None
    """Typological distance to the nearest of its languages, 0 to 1; None without typology (or for base and dense)."""
    nearest: str | None
    """The code of that nearest language."""
    overlap: float | None
    """Share of common word types, |A ∩ T| / (|A| + |T|), with the best of its languages."""
    subword_overlap: float | None
    """The same share for the tokenizer's subwords; None for a tokenizer of single bytes."""
    bits_per_byte: float
    """Its loss on a sample of the new text, before any training."""

    @property
    def types_shared(self) -> float | None:
        """The overlap that counts: of subwords, or of words if the tokenizer has no subwords to compare."""
        return self.overlap if self.subword_overlap is None else self.subword_overlap


@dataclass(frozen=True)
class DonorTrial:
    """A start that was trained for a small part of the budget, to be compared with others."""

    __pydantic_config__ = STRICT

    name: str
    tokens: list[int]
    """Tokens it had been trained on at each look, the first 0."""
    bits_per_byte: list[float]
    """On held-out text of the new language, at each look."""
    behind_percent: float | None = None
    """How much more bits than the best start it was expected to need at the look after the one at which it was given up
    (at the end of its share: how much more it needed); None for the winner, and where its numbers overflowed."""
    error_percent: float | None = None
    """Standard error of that difference over pieces of text."""

    def __post_init__(self) -> None:
        if not self.tokens or len(self.tokens) != len(self.bits_per_byte):
            raise ValueError("tokens and bits_per_byte of a trial must be as many, at least one")


@dataclass(frozen=True)
class TokenizerFit:
    """How a tokenizer splits a language's text."""

    __pydantic_config__ = STRICT

    tokens_per_byte: float
    """Tokens a byte: 1 for a tokenizer of single bytes; the smaller, the cheaper the text."""
    tokens_per_word: float | None
    """Tokens a word (fertility); None for text without words."""
    fallback_share: float
    """Share of tokens that are pieces of a character, 0 to 1."""
    unknown_share: float
    """Share of tokens that stand for text the tokenizer cannot write, 0 to 1."""


@dataclass(frozen=True)
class TokenizerCheck:
    """The new language's fit against those of the run's languages."""

    __pydantic_config__ = STRICT

    own: TokenizerFit
    others: dict[str, TokenizerFit]
    warnings: list[str]


@dataclass(frozen=True)
class Routes:
    """How a run's router reads held-out sentences."""

    __pydantic_config__ = STRICT

    confusion: dict[str, dict[str, int]]
    """Language -> language that it was read as -> number of sentences."""
    experts: dict[str, dict[str, int]]
    """Language -> expert of most weight -> number of sentences."""

    def right(self, code: str) -> float:
        """Share of a language's sentences that are read as it, or as it and languages that share its answer, 0 to 1."""
        counts = self.confusion[code]
        return sum(number for read, number in counts.items() if code in read.split(SHARED)) / sum(counts.values())


@dataclass(frozen=True)
class BeforeAfter:
    """A figure before and after an addition."""

    __pydantic_config__ = STRICT

    before: float | None
    """The figure before; None if it was not measured."""
    after: float


@dataclass(frozen=True)
class RouteChanges:
    """How the router read held-out sentences before and after an addition."""

    __pydantic_config__ = STRICT

    before: Routes
    after: Routes
    right: dict[str, BeforeAfter]
    """Language -> share of its sentences that are read as it."""


@dataclass(frozen=True)
class ForgettingChanges:
    """Own gain and cost elsewhere of each expert, before and after an addition."""

    __pydantic_config__ = STRICT

    before: dict[str, Forgetting]
    after: dict[str, Forgetting]


@dataclass(frozen=True)
class LanguageRead:
    """How many documents of an added text read as one language."""

    __pydantic_config__ = STRICT

    language: str
    """Code of the language; empty if it is unclear."""
    verdict: Literal["claimed", "related", "foreign", "unclear"]
    """Whether that is the claimed language, a related one, another one, or unclear."""
    documents: int
    confidence: float
    """Mean probability of that language, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One addition. In JSON `kind` is called `as`, like the option of `xelm add`."""

    __pydantic_config__ = STRICT

    language: str
    expert: str
    kind: Kind
    donor: str
    """The model that training started from."""
    reason: str
    """Why this donor, in sentences."""
    candidates: list[DonorCandidate]
    replay: float
    """Share of the training blocks drawn from the donor's own languages."""
    tokens: int
    """Trained on, its own trial among them."""
    bytes: int
    """Of training text of the new language."""
    sha256: str
    """Of that text's files."""
    tokenizer: TokenizerCheck
    trials: list[DonorTrial] = field(default_factory=list)
    """Starts that were tried, the winner first; empty if the donor was named or chosen by the signals alone."""
    trial_share: float = 0.0
    """Share of the budget that a trial of one start took at most, unless the best were tied."""
    budget: int = 0
    """Tokens of the whole addition, of which less than a step may be left; 0: an earlier version of xelm added it."""
    languages_read: list[LanguageRead] = field(default_factory=list)
    """What all documents of the text read as; empty where an earlier version of xelm added the language."""
    documents_dropped: int = 0
    """Those of other languages, left out by `--drop-other-languages`."""
    bits_per_byte: dict[str, BeforeAfter] = field(default_factory=dict)
    """Language -> of its test text, routed (`top1`)."""
    prior: float = 0.0
    """Nats added to the language's log-probability, at most 0, so that older languages keep their text."""
    unrepaired: dict[str, float] = field(default_factory=dict)
    """Language -> bits per byte, routed, as they would be without the prior; empty if there is none."""
    routes: RouteChanges | None = None
    forgetting: ForgettingChanges | None = None
    """On test text; None where an earlier version of xelm added the language."""

    @property
    def trial_tokens(self) -> int:
        """Tokens of the budget that went into trials of other starts."""
        return sum(trial.tokens[-1] for trial in self.trials[1:])

    @property
    def budget_tokens(self) -> int:
        """Tokens of the whole addition, trials and all."""
        return self.budget or self.tokens + self.trial_tokens

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {("as" if key == "kind" else key): value for key, value in asdict(self).items()}


def renamed(line: Any) -> Any:
    """A line of JSON with the names of `LedgerEntry`'s fields; any other value is left for the reader to refuse."""
    if not isinstance(line, Mapping):
        return line
    return {("kind" if key == "as" else key): value for key, value in line.items()}
