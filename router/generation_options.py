"""Options of `generate`: those that commands offer, and the check of all before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from annotated_types import Interval

from clustering.errors import BadInput, arg
from clustering.ranges import Count, Positive, Share, check_range, range_of, ranges_of
from router.generation import DEFAULT_NEW_TOKENS

NotNegative = Annotated[int, Interval(ge=0)]
# Far below the lowest temperature, logits divided by it overflow.
Temperature = Annotated[float, Interval(ge=1e-4)]


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How long an answer may be, and how its tokens are chosen."""

    max_new_tokens: Count = DEFAULT_NEW_TOKENS
    """Most tokens of an answer."""
    temperature: Temperature | None = None
    """Draw tokens at this temperature. None: the likeliest token each time."""
    top_p: Share = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    top_k: NotNegative | None = None
    """Draw from this many of the likeliest tokens, with 0 from all. None: as the model's settings say, or from 50."""
    min_p: Annotated[float, Interval(ge=0, le=1)] | None = None
    """Draw no token whose probability is below this share of the likeliest one's. None: as the model's settings say."""
    repetition_penalty: Positive | None = None
    """Above 1, tokens that the prompt or the answer already holds become less likely, below 1 likelier. None: as the
    model's settings say."""
    seed: int = 0
    """Seed of the drawing."""

    def for_generate(self) -> dict[str, Any]:
        """As options of transformers' `generate`, which takes its seed from torch.

        Raises:
            BadInput: If a limit of the drawing is given, but nothing is drawn.
        """
        given = {name: getattr(self, name) for name in ("top_k", "min_p") if getattr(self, name) is not None}
        if self.temperature is None:
            name, value = next(iter(given.items()), ("top_p", self.top_p))
            if given or self.top_p != 1.0:
                raise BadInput(f"{arg(name, value)}: nothing is drawn. Give {arg('temperature')} too, such as 0.8.")
            chosen: dict[str, Any] = {"do_sample": False}
        else:
            chosen = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, **given}
        if self.repetition_penalty is not None:
            chosen["repetition_penalty"] = self.repetition_penalty
        return {"max_new_tokens": self.max_new_tokens, **chosen}


_OWN = frozenset({"batch_size", "for_batch", "max_length", "return_dict_in_generate"})
_SET_HERE = frozenset({"input_ids", "inputs", "attention_mask", "expert_weights", "synced_gpus"})

_RANGES = ranges_of(AnswerOptions) | {
    name: pair
    for name, hint in {
        "typical_p": Share,
        "epsilon_cutoff": Annotated[float, Interval(ge=0, lt=1)],
        "eta_cutoff": Annotated[float, Interval(ge=0, lt=1)],
        "encoder_repetition_penalty": Positive,
        "no_repeat_ngram_size": NotNegative,
        "num_beams": Count,
        "num_return_sequences": Count,
        "min_new_tokens": NotNegative,
    }.items()
    if (pair := range_of(hint)) is not None
}
_OR = {"temperature": "; do_sample=False takes the likeliest token"}


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that `generate` does not know, or whose value is out of range.

    Raises:
        BadInput: The message names the option, the value, and what is allowed or near names.
    """
    for name in options:
        if name in _SET_HERE:
            raise BadInput(f"{name} is set from the prompts and the policy here. Leave it out.")
        if name not in _known():
            near = difflib.get_close_matches(name, _known(), n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise BadInput(f"{name}: no option of transformers' generate.{hint}")
    for name, (kind, interval) in _RANGES.items():
        if name == "temperature" and options.get("do_sample") is False:
            continue  # it has no effect
        if options.get(name) is not None:
            check_range(name, options[name], kind, interval, _OR.get(name, ""))


@cache
def _known() -> frozenset[str]:
    import inspect

    from transformers import GenerationConfig, GenerationMixin

    # Arguments and attributes of a configuration: some arguments are kept under another name.
    settings: Iterable[str] = {*vars(GenerationConfig()), *GenerationConfig().to_dict()}
    named = inspect.signature(GenerationMixin.generate).parameters
    return frozenset({*settings, *named, *_OWN, "tokenizer", "assistant_tokenizer"} - {"self", "kwargs"})
