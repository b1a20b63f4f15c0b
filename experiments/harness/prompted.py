"""lm-evaluation-harness on a routed model, with the end of each question told to the model.

The harness hands a model question and answer as one row. This adapter also says where the question ends, so that the
experts of the question answer all its choices, as they do when the run generates. Without it (plain `HFLM`) the weights
follow the growing text, also through the answer: causal probabilities too, of a reader who does not know where the
question ends.
"""

from __future__ import annotations

from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch.nn.utils.rnn import pad_sequence

Request = tuple[Any, list[int], list[int]]


class PromptedHFLM(HFLM):
    """`HFLM` for models of `RoutedLM.as_causal_lm`."""

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        size = override_bs or int(self.batch_size_per_gpu)
        order = sorted(range(len(requests)), key=lambda i: len(requests[i][1]) + len(requests[i][2]))
        answers: dict[int, tuple[float, bool]] = {}
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            for row, answer in zip(rows, self._answers([requests[row] for row in rows]), strict=True):
                answers[row] = answer
        return [answers[row] for row in range(len(requests))]

    def _answers(self, requests: list[Request]) -> list[tuple[float, bool]]:
        rows = [torch.tensor([*question, *answer][-(self.max_length + 1) :][:-1]) for _, question, answer in requests]
        ids = pad_sequence(rows, batch_first=True).to(self.device)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(self.device)
        # Rolling windows come without a question (their key is None): their weights follow the text.
        asked = {}
        if all(key is not None for key, _, _ in requests):
            lengths = [len(row) - len(answer) + 1 for row, (_, _, answer) in zip(rows, requests, strict=True)]
            asked["num_prompt"] = torch.tensor(lengths)
        with torch.inference_mode():
            log_probs = torch.log_softmax(self.model(input_ids=ids, attention_mask=mask, **asked).logits.float(), -1)
        answers = []
        for row, length, (_, _, answer) in zip(log_probs, map(len, rows), requests, strict=True):
            ending, wanted = row[length - len(answer) : length].cpu(), torch.tensor(answer)
            chosen = ending.gather(-1, wanted[:, None]).sum()
            answers.append((float(chosen), bool((ending.argmax(-1) == wanted).all())))
        return answers
