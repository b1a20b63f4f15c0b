"""How the models of an objective read a prompt, and what their tokens say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clustering.errors import BadInput
from router.letters import utf8_bytes
from router.scoring.texts import encode
from xelm.objectives.gaps.sentinels import filled, gap_ids, sentinels_of


class Prompting:
    """Prompts that the answer follows, in the same sequence.

    Args:
        tokenizer: The tokenizer of the experts that answer.
    """

    first_tokens: Sequence[int] = ()
    """Tokens with which every answer begins and which are no part of it."""
    num_before: int | None = None
    """Tokens before an answer in the sequence that the model writes; None: those of the prompts."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, after the start token; lone surrogates are read as U+FFFD."""
        return encode([utf8_bytes(prompt).decode() for prompt in prompts], self.tokenizer)

    def text(self, prompt: Sequence[int], answer: Sequence[int]) -> str:
        """What an answer says, without special tokens."""
        return str(self.tokenizer.decode(list(answer), skip_special_tokens=True))

    def check_grows(self, prompts: Sequence[Sequence[int]], what: str) -> None:
        """Refuse prompts whose answer is not text that grows at its end.

        Raises:
            BadInput: If there is one.
        """


class GapPrompting(Prompting):
    """Prompts for an encoder: gaps are filled; a prompt without one is continued, in a gap at its end."""

    num_before: int | None = 2  # the decoder's start token and the first sentinel

    def __init__(self, tokenizer: Any):
        super().__init__(tokenizer)
        self._sentinels = sentinels_of(tokenizer)
        self.first_tokens = self._sentinels[:1]

    def ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids for the encoder."""
        return [gap_ids(prompt, self.tokenizer) for prompt in prompts]

    def text(self, prompt: Sequence[int], answer: Sequence[int]) -> str:
        """The continuation, or the prompt with its gaps filled."""
        return filled(prompt, answer, self.tokenizer)

    def check_grows(self, prompts: Sequence[Sequence[int]], what: str) -> None:
        """Refuse prompts with gaps inside."""
        special = set(self.tokenizer.all_special_ids) - set(self._sentinels)
        for prompt in prompts:
            body = [token for token in prompt if token not in special]
            gaps = [place for place, token in enumerate(body) if token in set(self._sentinels)]
            if gaps != [len(body) - 1]:
                raise BadInput(
                    f"{what} need an answer that grows at its end; a prompt with gaps is answered by the whole text, "
                    "its gaps filled. Leave them out, or ask for a continuation."
                )
