"""Sentinels, the tokens that stand for gaps in a text (`<extra_id_0>`, `<extra_id_1>`, …), and prompts with gaps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from router.letters import utf8_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTINEL = re.compile(r"▁?<extra_id_(\d+)>")
"""The spelling of a sentinel: a special token in T5, an ordinary piece in mT5."""
_GAP = re.compile(r"<extra_id_\d+>")


def sentinels_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The sentinels of a tokenizer, that of the first gap first.

    Raises:
        BadInput: If it has none.
    """
    found = ((SENTINEL.fullmatch(token), index) for token, index in tokenizer.get_vocab().items())
    numbered = sorted((int(match[1]), index) for match, index in found if match)
    if not numbered:
        raise BadInput(
            'objective = "denoise" needs a tokenizer with sentinels, the tokens <extra_id_0>, <extra_id_1>, … that '
            "stand for gaps; this base model's has none. Choose a model of the kind of T5 or mT5 as [base] model."
        )
    return [index for _, index in numbered]


def gap_ids(prompt: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a prompt for the encoder: its gaps as sentinels, or one gap at its end, then the end token.

    Gaps are numbered from the first one on, whatever numbers they are written with.

    Raises:
        BadInput: If it has more gaps than the tokenizer has sentinels.
    """
    sentinels, ids = sentinels_of(tokenizer), list[int]()
    pieces = _GAP.split(utf8_bytes(prompt).decode())
    pieces += [""] if len(pieces) == 1 else []
    if len(pieces) - 1 > len(sentinels):
        raise BadInput(f"a prompt has {len(pieces) - 1} gaps; the experts know {len(sentinels)}. Ask for fewer.")
    for number, piece in enumerate(pieces):
        ids += tokenizer(piece, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        ids += [sentinels[number]] if number < len(pieces) - 1 else []
    return [*ids, *end_of(tokenizer)]


def filled(prompt: Sequence[int], answer: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """What an answer says: the continuation of a prompt that ended with its only gap, else the prompt with gaps filled.

    A gap that the answer does not fill stays empty.

    Args:
        prompt: From `gap_ids`.
        answer: New tokens of the decoder, the first sentinel among them or not.
        tokenizer: The tokenizer of both.
    """
    sentinels = sentinels_of(tokenizer)
    place, special = {token: number for number, token in enumerate(sentinels)}, set(tokenizer.all_special_ids)
    spans: dict[int, list[int]] = {}
    number = 0
    for token in answer:
        if token in place:
            number = place[token]
        elif token not in special:
            spans.setdefault(number, []).append(token)
    body = [token for token in prompt if token in place or token not in special]
    gaps = [token for token in body if token in place]
    if len(gaps) == 1 and body[-1] == gaps[0]:
        return str(tokenizer.decode(spans.get(0, [])))
    whole = [token for piece in body for token in (spans.get(place[piece], []) if piece in place else [piece])]
    return str(tokenizer.decode(whole))


def end_of(tokenizer: Any) -> list[int]:
    """The token that ends the encoder's input and the decoder's target, in a list; empty if there is none."""
    ids = (tokenizer.eos_token_id, tokenizer.sep_token_id)
    return [next(i for i in ids if i is not None)] if any(i is not None for i in ids) else []
