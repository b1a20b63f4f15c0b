"""Text from experts: prompts grouped by the experts that answer them, answers in the order asked.

Shape letters: `B` prompts, `K` experts, `M` experts of a group, `T` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustering.errors import BadInput, arg
from router.encoder_decoder import decoder_start, reads_apart
from router.mixture.experts import MixedExperts, MixedSource
from router.scoring.tokens import context_of

DEFAULT_BATCH_SIZE = 32
# Without a length transformers would stop after 20 tokens in all, prompt included.
DEFAULT_NEW_TOKENS = 64


@dataclass(frozen=True)
class _Job:
    """One batch: a model, the prompts it continues, its weights if it is a mixture, and the tokens it may add."""

    model: Any
    rows: list[int]
    weights: np.ndarray | None
    num_new: int


@dataclass(frozen=True)
class Group:
    """Prompts that the same experts answer.

    Attributes:
        experts: Indices of the experts, ascending.
        rows: Indices of the prompts, ascending.
    """

    experts: tuple[int, ...]
    rows: tuple[int, ...]


def group_rows(weights_BK: np.ndarray) -> list[Group]:
    """Group rows by the set of experts with weight, in the order in which sets first appear."""
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, weights_K in enumerate(weights_BK):
        rows_of.setdefault(tuple(int(k) for k in np.flatnonzero(weights_K > 0)), []).append(row)
    return [Group(experts, tuple(rows)) for experts, rows in rows_of.items()]


def generate_ids(
    prompts: Sequence[Sequence[int]],
    weights_BK: np.ndarray,
    experts: MixedExperts,
    *,
    pad_token_id: int = 0,
    batch_size: int = DEFAULT_BATCH_SIZE,
    for_batch: Callable[[Sequence[int]], dict[str, Any]] | None = None,
    **options: Any,
) -> list[list[list[int]]]:
    """Continue prompts given as token ids.

    Each group of prompts with the same experts runs in batches of similar length: one expert by its own `generate`,
    several as a `MixtureForCausalLM`. Which prompts share a batch does not change greedy or beam search answers;
    sampled ones draw from torch's global generator in that order. Answers end where the context does.

    Args:
        prompts: Token ids of B prompts, each with at least one; encoder-decoder models read them by their encoder.
        weights_BK: Weights after the policy, shape (B, K), rows summing to 1.
        experts: The K experts.
        pad_token_id: Fills short prompts on the left.
        batch_size: Most prompts in one pass.
        first_tokens: For encoder-decoder models: tokens with which every answer begins, which are not returned.
        for_batch: From the indices of a batch's prompts to options for that batch alone, such as stopping criteria that
            must know the prompt of each row.
        **options: For transformers' `generate`: max_new_tokens (default 64), do_sample, num_beams, streamer ...

    Returns:
        For each prompt its `num_return_sequences` continuations as token ids, without prompt and padding; an end
        token is kept.

    Raises:
        BadInput: If a prompt is empty or longer than the context, an option does not fit, or a streamer is given with
            more than one prompt.
    """
    experts.check(weights_BK, len(prompts))
    _check(prompts, options)
    if "max_length" in options:
        raise BadInput("max_length counts the prompt too, which differs from prompt to prompt. Use max_new_tokens.")
    num_new = options.pop("max_new_tokens", DEFAULT_NEW_TOKENS)
    answers: list[list[list[int]]] = [[] for _ in prompts]
    lengths = [len(prompt) for prompt in prompts]
    for job in _jobs(lengths, np.asarray(weights_BK), experts, batch_size, num_new):
        own = for_batch(job.rows) if for_batch else {}
        limited = {**options, **own, "max_new_tokens": job.num_new}
        batch = _run(job.model, [prompts[row] for row in job.rows], job.weights, pad_token_id, limited)
        for row, sequences in zip(job.rows, batch, strict=True):
            answers[row] = sequences
    return answers


def _check(prompts: Sequence[Sequence[int]], options: dict[str, Any]) -> None:
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise BadInput(f"Prompt {index} is empty and the tokenizer has no start token. Give it some text.")
    if options.get("streamer") is not None and len(prompts) != 1:
        raise BadInput(f"A streamer follows one prompt, {len(prompts)} were given. Call once for each prompt.")
    if options.get("return_dict_in_generate"):
        raise BadInput("return_dict_in_generate gives tensors of single batches: use as_causal_lm().generate for it.")


def _jobs(
    lengths: Sequence[int],
    weights_BK: np.ndarray,
    experts: MixedExperts,
    batch_size: int,
    num_new: int,
) -> Iterator[_Job]:
    """Batches in the order in which they run: group by group, or all together if one pass serves several experts."""
    groups, models = group_rows(weights_BK), experts.models
    if isinstance(models, MixedSource) and (chosen := one_each(weights_BK, experts)):
        rooms = _rooms(models.for_rows(chosen), range(len(lengths)), lengths, num_new)
        for rows, room in _batches(rooms, lengths, batch_size):
            yield _Job(models.for_rows([chosen[row] for row in rows]), rows, None, room)
        return
    for group in groups:
        members = models.get_many([experts.names[k] for k in group.experts])
        model = compose(members, experts.dynamic)
        shortest = min(members, key=context_of)
        for rows, room in _batches(_rooms(shortest, group.rows, lengths, num_new), lengths, batch_size):
            weights_BM = weights_BK[np.ix_(rows, group.experts)] if len(members) > 1 else None
            yield _Job(model, rows, weights_BM, room)


def _rooms(model: Any, rows: Sequence[int], lengths: Sequence[int], num_new: int) -> dict[int, int]:
    """The number of tokens that each prompt's answer may have."""
    context, apart = context_of(model), reads_apart(model)
    for row in rows:
        if lengths[row] >= context + apart:
            room = "" if apart else ", and the answer needs room too"
            raise BadInput(
                f"Prompt {row} has {lengths[row]} tokens; the experts read at most {context}{room}. "
                "Shorten the prompt, for instance to its end."
            )
    return {row: min(num_new, context - (0 if apart else lengths[row])) for row in rows}


def one_each(weights_BK: np.ndarray, experts: MixedExperts) -> list[str]:
    """The expert of each prompt, if each has only one; else none."""
    if ((weights_BK > 0).sum(axis=1) != 1).any():
        return []
    return [experts.names[int(k)] for k in weights_BK.argmax(axis=1)]


def compose(members: Sequence[Any], dynamic: float) -> Any:
    """Loaded experts as one model: the mixture of several.

    Raises:
        BadInput: If several are encoder-decoder models.
    """
    if len(members) == 1:
        return members[0]
    if any(map(reads_apart, members)):
        raise BadInput(
            "encoder-decoder experts answer one at a time: the answers of several are not mixed. "
            f"Use {arg('policy', 'top1')}, or an expert's name."
        )
    from router.mixture.model import MixtureForCausalLM

    return MixtureForCausalLM.from_experts(members, dynamic=dynamic)


def _batches(rooms: dict[int, int], lengths: Sequence[int], batch_size: int) -> Iterator[tuple[list[int], int]]:
    """Rows of similar length, and the number of tokens that each may add.

    Rows that would outgrow the context share a batch only with rows of their own length, so that none is cut short by
    a longer neighbour.
    """
    if batch_size < 1:
        raise BadInput(f"{arg('batch_size', batch_size)} must be at least 1.")
    by_room: dict[int, list[int]] = {}
    for row in sorted(rooms, key=lambda row: lengths[row]):
        by_room.setdefault(rooms[row], []).append(row)
    for room, members in by_room.items():
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size], room


def _run(
    model: Any,
    prompts: Sequence[Sequence[int]],
    weights_BM: np.ndarray | None,
    pad_token_id: int,
    options: dict[str, Any],
) -> list[list[list[int]]]:
    """Continuations of one batch, by prompt and returned sequence."""
    import torch

    device, apart = next(model.parameters()).device, reads_apart(model)
    # An encoder counts positions from its first token on.
    ids_BT, mask_BT = padded(prompts, pad_token_id, left=not apart)
    num_before = ids_BT.shape[1]
    extra: dict[str, Any] = {"pad_token_id": pad_token_id, **options}
    if apart:
        first_BT = decoder_start(model, len(prompts), extra.pop("first_tokens", ()))
        extra["decoder_input_ids"], num_before = first_BT.to(device), first_BT.shape[1]
        extra["decoder_start_token_id"] = int(first_BT[0, 0])  # which transformers asks for all the same
    if weights_BM is not None:
        extra["expert_weights"] = torch.tensor(weights_BM, dtype=torch.float32, device=device)
    with torch.inference_mode():
        output = model.generate(input_ids=ids_BT.to(device), attention_mask=mask_BT.to(device), **extra)
    ends = _end_tokens(model, options)
    continuations = [_up_to_end(tokens, ends) for tokens in output[:, num_before:].tolist()]
    per_prompt = len(continuations) // len(prompts)
    return [continuations[i : i + per_prompt] for i in range(0, len(continuations), per_prompt)]


def padded(prompts: Sequence[Sequence[int]], pad_token_id: int, *, left: bool = True) -> tuple[Any, Any]:
    """Token ids of prompts, filled up to the longest, and the mask of real tokens: two int64 tensors (B, T)."""
    import torch

    longest = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), longest), pad_token_id, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        begin = longest - len(prompt) if left else 0
        ids_BT[row, begin : begin + len(prompt)] = torch.tensor(list(prompt))
        mask_BT[row, begin : begin + len(prompt)] = 1
    return ids_BT, mask_BT


def _end_tokens(model: Any, options: dict[str, Any]) -> set[int]:
    given = options.get("eos_token_id", model.generation_config.eos_token_id)
    return set(given) if isinstance(given, list | tuple) else {given}


def _up_to_end(tokens: list[int], ends: set[int]) -> list[int]:
    """Drop what follows the first end token: padding up to the longest answer of the batch."""
    for index, token in enumerate(tokens):
        if token in ends:
            return tokens[: index + 1]
    return tokens
