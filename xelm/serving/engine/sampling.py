"""How tokens are chosen, with settings of its own for each row of a batch.

Rows of different temperature, filters, penalties and seeds share one pass: the choice is made here, not by `generate`,
which gets one possible token a row. A row with a seed has a generator of its own, so that its answer does not depend on
other rows of the batch. Shape letters: `B` rows, `V` tokens of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from clustering.ranges import Share

if TYPE_CHECKING:
    import torch

    from xelm.serving.engine.jobs import Answer

Warmth = Annotated[float, Interval(ge=0, le=10)]
MinP = Annotated[float, Interval(ge=0, le=1)]
Penalty = Annotated[float, Interval(ge=-2, le=2)]
Seed = Annotated[int, Interval(ge=-(2**63), lt=2**63)]


@dataclass(frozen=True)
class Sampling:
    """How the tokens of an answer are chosen."""

    temperature: Warmth = 0.0
    """0 takes the likeliest token."""
    top_p: Share = 1.0
    """Share of probability that is kept."""
    top_k: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    """How many tokens are kept; 0: all."""
    min_p: MinP = 0.0
    """Tokens below this share of the likeliest one's probability are dropped."""
    presence_penalty: Penalty = 0.0
    """Nats subtracted from the logit of every token that the answer already contains."""
    frequency_penalty: Penalty = 0.0
    """Nats subtracted from the logit of a token each time that the answer already contains it."""
    seed: Seed | None = None
    """Seed of the row's own generator; None: a new one each time."""

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0


@dataclass(frozen=True)
class TokenLogProb:
    """The log-probability of one token of an answer or a prompt."""

    token: int
    log_prob: float | None
    """Nats; None for the first token of a text without a start token."""
    top: list[tuple[int, float]] = field(default_factory=list)
    """The likeliest tokens at this position with their nats, the likeliest first."""


class TokenChooser:
    """The logits processor of a pass: chooses the next token of each row, and keeps its log-probabilities if wanted.

    Penalties are those of OpenAI's API: they are taken from the logits of tokens that the answer itself contains, which
    means the same for one expert's logits and for a mixture's log-probabilities.

    Args:
        answers: The answers of the batch's rows, in order.
    """

    def __init__(self, answers: Sequence[Answer]):
        self._answers = answers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` (B, V) with 0 at the token chosen for each row and minus infinity elsewhere."""
        import torch

        log_probs_BV = torch.log_softmax(scores.float(), dim=-1)
        chosen = [
            self._choose(answer, log_probs_V) if answer.finish_reason is None else int(log_probs_V.argmax())
            for answer, log_probs_V in zip(self._answers, log_probs_BV, strict=True)
        ]
        chosen_B1 = torch.tensor(chosen, device=scores.device)[:, None]
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen_B1, 0.0)

    def _choose(self, answer: Answer, log_probs_V: torch.Tensor) -> int:
        token = pick(penalised(log_probs_V, answer.sampling, answer.tokens), answer.sampling, answer.generator)
        if answer.num_logprobs is not None:
            answer.log_probs.append(described(token, log_probs_V, answer.num_logprobs))
        return token


def penalised(log_probs_V: torch.Tensor, sampling: Sampling, tokens: Sequence[int]) -> torch.Tensor:
    """The scores after presence and frequency penalties for the answer's tokens so far."""
    import torch

    if not tokens or not (sampling.presence_penalty or sampling.frequency_penalty):
        return log_probs_V
    counts = Counter(tokens)
    index = torch.tensor(list(counts), device=log_probs_V.device)
    times = torch.tensor([float(n) for n in counts.values()], device=log_probs_V.device)
    return log_probs_V.index_add(0, index, -(sampling.presence_penalty + sampling.frequency_penalty * times))


def pick(scores_V: torch.Tensor, sampling: Sampling, generator: Any) -> int:
    """One token: the likeliest, or drawn after temperature and filters."""
    import torch

    if sampling.is_greedy:
        return int(scores_V.argmax())
    ordered_V, tokens_V = (scores_V / sampling.temperature).sort(descending=True)
    probs_V = torch.softmax(ordered_V.double(), dim=-1)
    # A token is kept while those before it have less than top_p together; the first one is always kept.
    kept_V = probs_V.cumsum(-1) - probs_V < sampling.top_p
    kept_V &= probs_V >= sampling.min_p * probs_V[0]
    if sampling.top_k:
        kept_V[sampling.top_k :] = False
    drawn = torch.multinomial((probs_V * kept_V).cpu(), 1, generator=generator)
    return int(tokens_V[int(drawn)])


def described(token: int, log_probs_V: torch.Tensor, num_top: int) -> TokenLogProb:
    """A token with its log-probability and the likeliest tokens of its position."""
    values, tokens = log_probs_V.topk(min(num_top, len(log_probs_V)))
    top = list(zip(tokens.tolist(), values.tolist(), strict=True))
    return TokenLogProb(token, float(log_probs_V[token]), top)
