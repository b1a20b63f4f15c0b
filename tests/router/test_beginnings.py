"""A prompt that goes on from the cached beginning of another one gets the tokens that it gets when it is read whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from router.continuing import continue_ids
from router.mixture.beginnings import beginning, begun, can_begin
from router.mixture.kept import KeptRow
from tests.router.test_kept import of
from tests.router.tiny import gpt2, llama

BEGINNING = [5, 9, 11, 7, 3, 3, 8, 20]
PROMPTS = [[*BEGINNING, 31, 6, 12], [*BEGINNING, 40, 41, 42, 43, 44, 45, 46], [*BEGINNING, 22, 23]]
ONE = np.array([[1.0]])


def read(experts, prompts, kept=None, num_new=6):
    """The cache, and each prompt's new tokens with the log-probabilities that chose them."""
    tokens, scores = [[] for _ in prompts], [[] for _ in prompts]

    def note(_ids, scores_BV):
        for row, scores_V in enumerate(scores_BV):
            scores[row].append(torch.log_softmax(scores_V.float(), -1))
            tokens[row].append(int(scores_V.argmax()))
        return scores_BV

    hooks = {"logits_processor": [note]}
    batch = continue_ids(
        prompts,
        np.repeat(ONE, len(prompts), axis=0),
        experts,
        kept=kept,
        for_batch=lambda _: hooks,
        max_new_tokens=num_new,
        do_sample=False,
        eos_token_id=None,
    )
    return batch, tokens, [torch.stack(of_row) for of_row in scores]


@pytest.mark.parametrize("make", [llama, gpt2])
def test_prompts_of_several_lengths_go_on_from_one_beginning(make):
    experts = of([make(0)])
    whole, tokens, scores = read(experts, PROMPTS)
    cached = KeptRow(whole, 1)  # of the second prompt, whose own end differs from the others'
    batch = begun([beginning(cached, len(BEGINNING))] * 3, list(map(len, PROMPTS)))
    # The longest prompt's whole beginning, and of the others' as much as lies before the same column.
    assert batch.num_tokens == [8 - (15 - 11), 8, 8 - (15 - 10)]
    _, again, scores_again = read(experts, PROMPTS, batch)
    assert again == tokens
    for one, other in zip(scores, scores_again, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    # What was kept stays as it was, and can begin others.
    assert begun([beginning(cached, 8)], [11]).num_tokens == [8] and whole.cache.get_seq_length() == cached.num_tokens


def test_a_prompt_much_shorter_than_its_neighbour_goes_on_from_nothing():
    whole, _, _ = read(of([llama(0)]), PROMPTS)
    row = beginning(KeptRow(whole, 0), 8)
    assert begun([row, row], [9, 17]) is None and begun([row, row], [10, 17]).num_tokens == [1, 8]


def test_a_copy_keeps_no_batch_in_memory_and_mixtures_are_not_cut():
    whole, _, _ = read(of([llama(0)]), PROMPTS)
    cut, copied = (beginning(KeptRow(whole, 0), 8, copied=made) for made in (False, True))
    assert copied.batch.num_bytes == cut.batch.num_bytes < whole.num_bytes / 3
    memory = copied.batch.cache.layers[0].keys.untyped_storage().nbytes()
    assert (
        memory == copied.batch.cache.layers[0].keys.nbytes < cut.batch.cache.layers[0].keys.untyped_storage().nbytes()
    )
    mixed = of([llama(0), llama(1)])
    batch = continue_ids(
        [PROMPTS[0]], np.array([[0.5, 0.5]]), mixed, for_batch=lambda _: {}, max_new_tokens=2, do_sample=False
    )
    assert can_begin(cut) and not can_begin(KeptRow(batch, 0))
