"""Training on pairs without labels: a sentence's vector is drawn to the one that its translation had at first.

The distance is that of Reimers and Gurevych (2020): both the pivot's sentence and the translation are drawn to the
teacher's vector of the pivot's sentence, so that the pivot stays where it was. Beside it stands the in-batch contrast
of LaBSE (Feng et al. 2022): of all sentences of the batch, the own translation must be nearest.

Shape letters: B pairs of a batch, P pivot sentences, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clustering.errors import BadInput, arg
from xelm.aligning.pairs import Pair, PairSet
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_order, sampling_shares
from xelm.corpus.store import LanguageCounts, TokenStore
from xelm.objectives.objective import Batches
from xelm.recipe.recipe import Train
from xelm.training.stage import Stage
from xelm.transferring.bases.base import body_of
from xelm.transferring.features.hidden import most_tokens, padded, pooled_states
from xelm.transferring.recipe import TaskBase

if TYPE_CHECKING:
    import torch

Adapter = Literal["lora", "full"]
_RATES = {"lora": 5e-4, "full": 3e-5}
_CHECKPOINT_EVERY = 20


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How pairs are learnt."""

    adapter: Adapter | None = None
    """`lora` or `full`; None: `lora`, or what the expert's own kind trains."""
    rank: int = 16
    epochs: int = 3
    learning_rate: float | None = None
    step_pairs: int = 32
    contrast: float = 1.0
    temperature: float = 0.05
    margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "epochs"):
            if getattr(self, name) < 1:
                raise BadInput(f"{arg(name, getattr(self, name))}: must be at least 1.")
        if self.step_pairs < 2:
            raise BadInput(f"{arg('step_pairs', self.step_pairs)}: a step compares two pairs or more.")
        for name in ("temperature", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise BadInput(f"{arg(name, value)}: must be greater than 0.")
        for name in ("contrast", "margin", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"{arg(name, getattr(self, name))}: must be at least 0.")

    def identity(self) -> dict[str, Any]:
        """What decides the trained weights."""
        return asdict(self)

    def rate(self, adapter: Adapter) -> float:
        """Peak learning rate."""
        return self.learning_rate or _RATES[adapter]


def pairs_print(pairs: Mapping[str, PairSet]) -> list[list[Any]]:
    """What of the pairs decides the trained weights, for a fingerprint."""
    return [[code, [[pair.text, pair.pivot] for pair in own.fit]] for code, own in sorted(pairs.items())]


@dataclass(frozen=True)
class PairBatches(Batches):
    """Batches of pairs. A block of the training is one pair, and its only token is the pair's number."""

    pairs: Sequence[Pair]
    pivots: Mapping[str, int]
    """Pivot sentence -> its row of `targets`."""
    targets: np.ndarray
    """The teacher's vectors of the pivot sentences, (P, D) float32."""
    tokenizer: Any
    settings: TaskBase
    teaching: Teaching

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> PairBatch:
        """The pairs of these numbers."""
        chosen = [self.pairs[int(number)] for number in ids_BT[:, 0]]
        return PairBatch(chosen, np.array([self.pivots[pair.pivot] for pair in chosen]), self)

    def isolates(self, model: Any) -> bool:
        """A text is never packed with others."""
        return True

    @cached_property
    def spread(self) -> float:
        """Mean squared distance of the targets from their mean: the scale of all distances."""
        return float(np.square(self.targets - self.targets.mean(axis=0)).sum(axis=1).mean()) or 1.0


@dataclass(frozen=True)
class PairBatch:
    """Some pairs; a step's loss compares each with all others of its pass."""

    pairs: Sequence[Pair]
    target_rows: np.ndarray
    of: PairBatches

    @property
    def num_targets(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def summed_loss(self, model: torch.nn.Module, *, isolated: bool, device: torch.device) -> torch.Tensor:
        """Distance and contrast, summed over the pairs."""
        import torch

        of, teaching = self.of, self.of.teaching
        targets_BD = torch.from_numpy(of.targets[self.target_rows]).to(device)
        ours_BD = vectors_of(model, [pair.text for pair in self.pairs], of.tokenizer, of.settings, device)
        theirs_BD = vectors_of(model, [pair.pivot for pair in self.pairs], of.tokenizer, of.settings, device)
        distances = (ours_BD - targets_BD).square().sum() + (theirs_BD - targets_BD).square().sum()
        loss = distances / (2 * of.spread)
        if teaching.contrast:
            rows_B = torch.from_numpy(self.target_rows).to(device)
            loss = loss + teaching.contrast * contrast(ours_BD, targets_BD, rows_B, teaching)
        return loss


def contrast(ours_BD: torch.Tensor, targets_BD: torch.Tensor, rows_B: torch.Tensor, teaching: Teaching) -> torch.Tensor:
    """Cross entropy of finding the own target among those of the batch, and back, summed over pairs.

    Args:
        ours_BD: Vectors that are trained.
        targets_BD: Vectors that are fixed.
        rows_B: The pivot sentence of each; equal ones are no wrong answers to each other.
        teaching: Temperature, and the margin by which the own target must be nearer.
    """
    import torch

    normal = torch.nn.functional.normalize
    cosine_BB = normal(ours_BD, dim=-1) @ normal(targets_BD, dim=-1).T
    own_BB = torch.eye(len(rows_B), dtype=torch.bool, device=rows_B.device)
    same_BB = (rows_B[:, None] == rows_B[None, :]) & ~own_BB
    scores_BB = (cosine_BB - teaching.margin * own_BB) / teaching.temperature
    scores_BB = scores_BB.masked_fill(same_BB, float("-inf"))
    right_B = torch.arange(len(rows_B), device=rows_B.device)
    entropy = torch.nn.functional.cross_entropy
    return (entropy(scores_BB, right_B, reduction="sum") + entropy(scores_BB.T, right_B, reduction="sum")) / 2


def vectors_of(model: Any, texts: Sequence[str], tokenizer: Any, settings: TaskBase, device: Any) -> torch.Tensor:
    """Pooled states of texts, (B, D), that gradients go through."""
    body = body_of(model)
    most = most_tokens(body, settings)
    encoded = tokenizer([settings.prefix + text for text in texts], truncation=True, max_length=most)
    ids_BT, mask_BT = padded(encoded["input_ids"], tokenizer, device)
    layer = settings.layer
    given = body(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=layer is not None)
    states_BTD = given.last_hidden_state if layer is None else given.hidden_states[layer]
    return pooled_states(states_BTD.float(), mask_BT, settings.pool)


def freeze_unread(model: Any, tokenizer: Any, settings: TaskBase) -> Any:
    """Let only those weights train that the vectors depend on: an output layer or a pooler gets no gradient.

    Raises:
        BadInput: If nothing is left.
    """
    was_training = model.training
    model.eval()
    size = vectors_of(model, ["a"], tokenizer, settings, model.device).square().sum()
    if size.requires_grad:
        size.backward()
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
    model.train(was_training)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadInput(f"{arg('layer', settings.layer)}: no trained weights lie below that layer.")
    return model


def stage_of(
    name: str,
    pairs: Mapping[str, PairSet],
    targets: np.ndarray,
    pivots: Mapping[str, int],
    tokenizer: Any,
    settings: TaskBase,
    teaching: Teaching,
    checkpoints: Path,
    *,
    adapter: Adapter,
    anchor: Mapping[str, float] | None = None,
) -> Stage:
    """The training: every pair once in each epoch, languages mixed.

    Args:
        name: Name of the training.
        pairs: Language -> pairs, of which `fit` is learnt.
        targets: The teacher's vectors of the pivot sentences, (P, D).
        pivots: Pivot sentence -> row of `targets`.
        tokenizer: The model's.
        settings: How states become vectors.
        teaching: How pairs are learnt.
        checkpoints: Folder of its checkpoints.
        adapter: What is trained, for the learning rate.
        anchor: A pull to the first weights (`xelm.training.anchor`).
    """
    flat, blocks = list[Pair](), dict[str, Blocks]()
    for code, own in sorted(pairs.items()):
        numbers = np.arange(len(flat), len(flat) + len(own.fit))
        counts = LanguageCounts(documents=len(numbers))
        blocks[code] = Blocks(TokenStore(code, numbers, np.arange(len(numbers)), counts, Path()), 1)
        flat += own.fit
    size = min(teaching.step_pairs, len(flat))
    steps = max(1, round(teaching.epochs * len(flat) / size))
    train = Train(
        tokens=steps * size,
        batch_size=size,
        learning_rate=teaching.rate(adapter),
        schedule="linear",
        warmup_fraction=0.1,
        min_learning_rate_ratio=0.0,
        weight_decay=0.01,
        checkpoint_every_steps=_CHECKPOINT_EVERY,
        seed=teaching.seed,
    )
    numbers_of = {code: len(own) for code, own in blocks.items()}
    order = draw_order(numbers_of, sampling_shares(numbers_of, 1.0), steps * size, seed=teaching.seed, name=name)
    batches = PairBatches(flat, pivots, targets, tokenizer, settings, teaching)
    return Stage(name, order, blocks, train.learning_rate, train, checkpoints, batches=batches, anchor=anchor or {})
