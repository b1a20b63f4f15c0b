"""Answers to prompts, with their tokens and how each of them ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from router.generation import generate_ids
from router.letters import utf8_bytes
from router.mixture.experts import MixedExperts
from router.routes.weigh import Route
from router.scoring.texts import encode
from xelm.inference.stops import AnswerStops, as_stops, holds, until_stop
from xelm.inference.stream import cut_at
from xelm.objectives.prompting import Prompting


@dataclass(frozen=True)
class Completion:
    """One answer.

    Attributes:
        text: The answer without the prompt and special tokens.
        tokens: The new tokens; an end token is kept.
        num_prompt_tokens: Number of tokens of the prompt, including the start token.
        ended: Whether it ended by itself (end token or stop text) rather than by length.
        route: Where the prompt went.
    """

    text: str
    tokens: list[int]
    num_prompt_tokens: int
    ended: bool
    route: Route


def prompt_ids(prompts: Sequence[str], tokenizer: Any, *, add_prefix: bool = True) -> list[list[int]]:
    """Token ids of prompts, after the start token (or not); lone surrogates are read as U+FFFD."""
    return encode([utf8_bytes(prompt).decode() for prompt in prompts], tokenizer, add_prefix=add_prefix)


def answer_ids(prompts: Sequence[str], answers: Sequence[str], tokenizer: Any) -> tuple[list[list[int]], list[int]]:
    """Token ids of prompts with answers after them, and the number of tokens of each prompt.

    The first tokens are those that `generate` would continue. The answer's are those that it has after the prompt, or,
    where the two run into one token, those that it has alone.
    """
    before = prompt_ids(prompts, tokenizer)
    whole = prompt_ids([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)], tokenizer)
    alone = prompt_ids(answers, tokenizer, add_prefix=False)
    sequences = [
        joined if joined[: len(prompt)] == prompt else prompt + answer
        for prompt, joined, answer in zip(before, whole, alone, strict=True)
    ]
    return sequences, [len(prompt) for prompt in before]


def translated(ids: Sequence[int], old: Any, new: Any) -> list[int]:
    """A prompt's tokens as another tokenizer reads them, if the two share their special tokens."""
    special, found, run = set(old.all_special_ids), list[int](), list[int]()
    for token in [*ids, None]:
        if token is not None and token not in special:
            run.append(token)
            continue
        if run:
            text = utf8_bytes(old.decode(run)).decode()
            found += new(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        found += [] if token is None else [token]
        run = []
    return found


def padding(tokenizer: Any) -> int:
    """The token that fills up batches; any will do where the tokenizer has none for it."""
    return next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0)


def decoder(tokenizer: Any) -> Any:
    """The function from token ids to text without special tokens."""
    return lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True)


def complete_ids(
    ids: Sequence[Sequence[int]],
    routes: Sequence[Route],
    weights_BK: np.ndarray,
    experts: MixedExperts,
    tokenizer: Any,
    *,
    stops: Sequence[str] = (),
    end_tokens: Collection[int] = (),
    prompting: Prompting | None = None,
    **options: Any,
) -> list[Completion]:
    """Continue prompts given as token ids.

    Args:
        ids: From `prompt_ids`, B prompts.
        routes: The route of each prompt.
        weights_BK: Weights after the policy, shape (B, K), rows summing to 1.
        experts: The K experts.
        tokenizer: The tokenizer that all experts share.
        stops: Texts at which an answer ends. They are not part of it, and are looked for in the answer alone.
        prompting: How the experts read prompts; None: as causal models do.
        end_tokens: The experts' end tokens, from which it follows how an answer ended.
        **options: As for `router.generation.generate_ids`; `stop_strings` also end an answer and are part of it.

    Returns:
        The answers in the order of the prompts; with `num_return_sequences` = n, n answers for each.
    """
    stops, decode, prompting = as_stops(stops), decoder(tokenizer), prompting or Prompting(tokenizer)
    kept = options.pop("stop_strings", None) or []
    ending = [*stops, *as_stops([kept] if isinstance(kept, str) else kept)]
    if ending:
        prompting.check_grows(ids, "stop texts")
        num_before = prompting.num_before
        lengths = [len(prompt) if num_before is None else num_before for prompt in ids]
        options["for_batch"] = _ending_at(ending, decode, lengths, options.pop("stopping_criteria", None))
    if prompting.first_tokens:
        options["first_tokens"] = prompting.first_tokens
    answers = generate_ids(ids, weights_BK, experts, pad_token_id=padding(tokenizer), **options)
    completions = []
    ends = as_set(options["eos_token_id"]) if "eos_token_id" in options else set(end_tokens)
    for prompt, route, sequences in zip(ids, routes, answers, strict=True):
        for sequence in sequences:
            tokens = until_stop(sequence, ending, decode)
            text = prompting.text(prompt, tokens)
            ended = holds(text, ending) or bool(tokens and tokens[-1] in ends)
            completions.append(Completion(text[: cut_at(text, stops)], tokens, len(prompt), ended, route))
    return completions


def _ending_at(
    stops: Sequence[str], decode: Callable[[list[int]], str], lengths: Sequence[int], others: Any
) -> Callable[[Sequence[int]], dict[str, Any]]:
    """The stopping criteria of a batch, which must know where its answers begin."""

    def for_batch(rows: Sequence[int]) -> dict[str, Any]:
        from transformers import StoppingCriteriaList

        own = AnswerStops(stops, decode, max(lengths[row] for row in rows))
        return {"stopping_criteria": StoppingCriteriaList([*(others or ()), own])}

    return for_batch


def as_set(tokens: int | Sequence[int] | None) -> set[int]:
    """The set of end tokens, which transformers writes as one number, a list, or None."""
    if tokens is None:
        return set()
    return set(tokens) if not isinstance(tokens, int) else {tokens}
