"""Experts by layer on one trunk: each row gets exactly its own expert, as the whole model would compute it."""

from __future__ import annotations

import copy

import pytest
import torch

from clustering.errors import BadInput
from router.continuing import continue_ids
from router.generation import generate_ids
from router.mixture.experts import MixedExperts
from router.mixture.kept import KeptRow, joined
from router.mixture.model import MixtureForCausalLM
from router.models.layer_bank import LayerBank
from router.models.layer_files import write_layers
from router.models.lora_source import LoraSource
from tests.router.tiny import VOCABULARY, gpt2, llama

MAKE = {"llama": (llama, "model.layers"), "gpt2": (gpt2, "transformer.h")}
LAYERS = {"a": [0], "b": [1], "c": [0, 1]}
NAMES = ["a", "b", "c", "base"]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def experts(request, tmp_path_factory):
    """A base, whole models that differ from it in some layers, and the folders that hold these layers."""
    make, prefix = MAKE[request.param]
    base, whole, folders = make(0), {"base": make(0)}, {"base": None}
    for seed, (name, numbers) in enumerate(LAYERS.items(), start=1):
        other, model = make(seed), copy.deepcopy(base)
        for number in numbers:
            model.get_submodule(prefix)[number].load_state_dict(other.get_submodule(prefix)[number].state_dict())
        folders[name] = tmp_path_factory.mktemp(name)
        write_layers(folders[name], prefix, numbers, model.state_dict())
        whole[name] = model
    return base, prefix, whole, folders


@pytest.fixture
def source(experts):
    base, prefix, _, folders = experts
    base = copy.deepcopy(base)
    return LoraSource(LayerBank(base, base.get_submodule(prefix), prefix), folders)


def _ids(rows, length, seed=0):
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("names", [["a"], ["a", "a"], NAMES, ["c", "base", "c", "a", "b", "a"], ["base"] * 3])
def test_each_row_is_computed_as_by_its_own_whole_model(experts, source, names):
    ids = _ids(len(names), 7)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # padding on the left
    with torch.inference_mode():
        logits = source.for_rows(names)(input_ids=ids, attention_mask=mask).logits
        for row, name in enumerate(names):
            want = experts[2][name](input_ids=ids[row : row + 1], attention_mask=mask[row : row + 1]).logits
            real = mask[row].bool()
            torch.testing.assert_close(logits[row][real], want[0][real], atol=1e-5, rtol=0)


def test_a_batch_whose_sizes_coincide_is_parted_by_rows_alone(experts, source):
    names = ["a", "b", "c", "base", "a", "b", "c"]
    ids = _ids(7, 7)  # as many rows as tokens
    with torch.inference_mode():
        logits = source.for_rows(names)(input_ids=ids).logits
        for row, name in enumerate(names):
            torch.testing.assert_close(logits[row], experts[2][name](ids[row : row + 1]).logits[0], atol=1e-5, rtol=0)


def test_rows_that_part_and_meet_again_keep_their_own_experts_and_caches(experts, source):
    names = ["a", "b", "base", "c"]
    prompts = [_ids(1, length, length)[0].tolist() for length in (4, 6, 5, 3)]
    weights = torch.eye(len(NAMES))[[NAMES.index(name) for name in names]].numpy()
    mixed, tokens, kept = MixedExperts(NAMES, source), [list(prompt) for prompt in prompts], [None] * 4

    def go(rows, num_new):
        def note(ids, _scores, **_):
            for row, token in zip(rows, ids[:, -1].tolist(), strict=True):
                tokens[row].append(token)
            return torch.zeros(len(rows), dtype=torch.bool)

        batch = joined([kept[row] for row in rows]) if kept[rows[0]] else None
        options = {"max_new_tokens": num_new, "eos_token_id": None, "do_sample": False}
        so_far = [list(tokens[row]) for row in rows]
        hooks = {"stopping_criteria": [note]}
        new = continue_ids(so_far, weights[rows], mixed, kept=batch, for_batch=lambda _: hooks, **options)
        for index, row in enumerate(rows):
            kept[row] = KeptRow(new, index)

    go([0, 1], 2)
    go([2], 1)
    go([1, 2, 0], 2)
    go([3], 3)
    go([3, 1, 2], 3)
    go([0, 3], 3)
    for name, prompt, found in zip(names, prompts, tokens, strict=True):
        ids, num_new = torch.tensor([prompt]), len(found) - len(prompt)
        alone = experts[2][name].generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_new, eos_token_id=None
        )
        assert found == alone[0].tolist() and num_new >= 6


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": False}])
def test_generation_in_a_mixed_batch_is_that_of_each_model_alone(experts, source, options):
    names = ["a", "b", "base", "c", "a"]
    prompts = [_ids(1, length, length)[0].tolist() for length in (4, 6, 5, 3, 6)]
    weights = torch.eye(len(NAMES))[[NAMES.index(name) for name in names]].numpy()
    answers = generate_ids(prompts, weights, MixedExperts(NAMES, source), max_new_tokens=9, **options)
    for name, prompt, [answer] in zip(names, prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        alone = experts[2][name].generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, **options)
        assert alone[0, len(prompt) :].tolist()[: len(answer)] == answer


def test_a_mixture_of_experts_by_layer_is_the_mixture_of_the_whole_models(experts, source):
    ids = _ids(2, 6)
    mixed = MixtureForCausalLM.from_experts(source.get_many(NAMES))
    whole = MixtureForCausalLM.from_experts([experts[2][name] for name in NAMES])
    with torch.inference_mode():
        torch.testing.assert_close(mixed(ids).logits, whole(ids).logits, atol=1e-5, rtol=0)


def test_the_base_answers_as_before_outside_and_after(experts, source):
    base, ids = source._bank.base, _ids(2, 5)
    names = list(base.state_dict())
    with torch.inference_mode():
        want = experts[0](ids).logits
        source.for_rows(["a", "b"])(ids)
        torch.testing.assert_close(base(ids).logits, want, atol=0, rtol=0)
        source._bank.close()
        torch.testing.assert_close(base(ids).logits, want, atol=0, rtol=0)
    assert list(base.state_dict()) == names and not any("forward" in m.__dict__ for m in base.modules())


def test_memory_is_that_of_the_copied_layers(source, experts):
    source.for_rows(["a", "b", "c"])
    base, prefix = source._bank.base, experts[1]
    held = {id(p): p.numel() for p in base.parameters()}
    copies = [c for switch in source._bank._switches.values() for c in switch.copies.values()]
    layer = sum(p.numel() for p in base.get_submodule(prefix)[0].parameters())
    assert sum(p.numel() for c in copies for p in c.parameters()) == 4 * layer
    assert not any(id(p) in held or p.is_meta for c in copies for p in c.parameters())


def test_layers_of_another_model_are_refused(experts, source, tmp_path):
    prefix = experts[1]
    write_layers(tmp_path / "deep", prefix, [1], {f"{prefix}.1.x": torch.zeros(2)})
    with pytest.raises(BadInput, match="Use the base it was trained on"):
        source._bank.add("deep", tmp_path / "deep")
    write_layers(tmp_path / "other", "decoder", [0], {"decoder.0.x": torch.zeros(2)})
    with pytest.raises(BadInput, match="has layers 0 of decoder"):
        source._bank.add("other", tmp_path / "other")
    (tmp_path / "other" / "layers.json").write_text('{"format": "xelm-layers", "prefix": "decoder", "layers": [5]}')
    with pytest.raises(BadInput, match="of no layer that"):
        source._bank.add("other", tmp_path / "other")
    with pytest.raises(BadInput, match="does not fit experts for 2 rows"), torch.inference_mode():
        source.for_rows(["a", "b"])(_ids(3, 4))
