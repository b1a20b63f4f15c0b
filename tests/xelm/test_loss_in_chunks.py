"""The loss without logits: the same numbers and gradients, only where it may be, and never all logits at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clustering import ClusterPlan
from tests.xelm.training_parts import budget_of, same_bits, stage_of, tiny_llama, weights_of
from xelm.expert_kinds.kind import ExpertKind
from xelm.objectives.chunks import chunked_cross_entropy
from xelm.objectives.denoise import DenoiseBatches
from xelm.objectives.head import Head, is_chunked
from xelm.objectives.masked import MaskedBatches
from xelm.objectives.objective import Batches
from xelm.recipe.recipe import Recipe
from xelm.training.loop import train_stage

N, H, V = 23, 8, 50


def _parts(*, bias: bool, dtype: torch.dtype = torch.float32) -> tuple[Any, Any, Any, Any]:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(N, H, generator=generator), torch.randn(V, H, generator=generator)
    labels = torch.randint(V, (N,), generator=generator)
    row = torch.randn(V, generator=generator) if bias else None
    made = [None if value is None else value.to(dtype).requires_grad_() for value in (hidden, weight, row)]
    return made[0], made[1], made[2], labels


def _of_logits(hidden: Any, weight: Any, bias: Any, labels: Any) -> torch.Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("positions", [1, 7, 100])
def test_the_loss_and_its_gradients_are_those_of_the_logits(bias: bool, positions: int) -> None:
    chunked, whole = _parts(bias=bias), _parts(bias=bias)
    loss, expected = chunked_cross_entropy(*chunked, positions=positions), _of_logits(*whole)
    (loss / 7).backward()
    (expected / 7).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for one, other in zip(chunked[:3], whole[:3], strict=True):
        if one is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)


def test_the_gradients_are_the_slopes_of_the_loss() -> None:
    parts, labels = _parts(bias=True, dtype=torch.float64)[:3], _parts(bias=True)[3]
    chunked_cross_entropy(*parts, labels, positions=5).backward()
    for part in parts:
        direction = torch.randn(part.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [other.detach() + (step * direction if other is part else 0) for other in parts]
            ends.append(float(chunked_cross_entropy(*moved, labels, positions=5)))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((part.grad * direction).sum()), rel=1e-6)


def test_logits_of_any_size_give_numbers() -> None:
    hidden, weight, _, labels = _parts(bias=False)
    loss = chunked_cross_entropy(hidden * 1e4, weight, None, labels, positions=5)
    torch.testing.assert_close(loss, _of_logits(hidden * 1e4, weight, None, labels), rtol=1e-5, atol=0)
    loss.backward()
    assert bool(torch.isfinite(weight.grad).all())


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_half_precision_is_as_exact_as_with_logits(weights: torch.dtype) -> None:
    """Against the truth in fp64, the error of either way is that of products in bf16."""
    true = _parts(bias=False, dtype=torch.float64)
    _of_logits(*true).backward()
    errors = []
    for way in (lambda *parts: chunked_cross_entropy(*parts, positions=5), _of_logits):
        parts = _parts(bias=False, dtype=weights)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=weights == torch.float32):
            loss = way(*parts)
        assert loss.dtype == torch.float32
        loss.backward()
        assert parts[1].grad.dtype == weights
        errors.append([float((p.grad - q.grad).abs().max()) for p, q in zip(parts[:2], true[:2], strict=True)])
    assert all(chunked < 2 * whole for chunked, whole in zip(*errors, strict=True)), errors


def test_what_needs_no_gradient_gets_none() -> None:
    hidden, weight, bias, labels = _parts(bias=True)
    weight.requires_grad_(False)
    chunked_cross_entropy(hidden, weight, bias, labels, positions=5).backward()
    assert weight.grad is None and hidden.grad is not None and bias.grad is not None
    with torch.no_grad():
        assert not chunked_cross_entropy(hidden, weight, bias, labels, positions=5).requires_grad


def test_no_position_to_judge_is_a_loss_of_zero() -> None:
    hidden, weight, _, labels = _parts(bias=False)
    loss = chunked_cross_entropy(hidden[:0], weight, None, labels[:0], positions=5)
    loss.backward()
    assert float(loss.detach()) == 0 and not weight.grad.any()


def _xlm_r() -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=48, max_position_embeddings=64, **sizes))
    with torch.no_grad():
        model.lm_head.bias.normal_()
    return model


def _modern_bert() -> Any:
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return ModernBertForMaskedLM(ModernBertConfig(vocab_size=48, **tokens, **sizes))


def _t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    return T5ForConditionalGeneration(T5Config(vocab_size=48, decoder_start_token_id=0, pad_token_id=0, **sizes))


MODELS = {
    "llama": tiny_llama,
    "tied": lambda: tiny_llama(tie_word_embeddings=True),
    "lora": lambda: ExpertKind.of(kind="lora", rank=2).prepare(tiny_llama()),
    "xlm-r": _xlm_r,
    "modernbert": _modern_bert,
    "t5": _t5,
}
BATCHES: dict[str, Batches] = {
    "xlm-r": MaskedBatches(3, 48, (0, 1, 2, 3), (0.3,), seed=0),
    "modernbert": MaskedBatches(3, 48, (0, 1, 2, 3), (0.3,), seed=0),
    "t5": DenoiseBatches((44, 45, 46, 47), (0, 1, 44, 45, 46, 47), (1,), pad_id=0, seed=0),
}


@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 2, "gradient_checkpointing": True}], ids=["", "thrifty"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_training_without_logits_learns_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, settings: dict[str, Any]
) -> None:
    curves, learned = [], []
    for loss in ("logits", "chunks"):
        model = MODELS[kind]()
        stage = stage_of(tmp_path / loss, loss=loss, evaluate_every_steps=6, **settings)
        stage = dataclasses.replace(stage, valid=stage.blocks, batches=BATCHES.get(kind, stage.batches))
        trained = train_stage(model, stage, lambda point: None)
        curves.append([p["loss"] for p in trained.history] + [p["valid_loss"]["deu"] for p in trained.evaluations])
        learned.append(weights_of(model))
    assert "takes more memory" not in caplog.text
    np.testing.assert_allclose(*curves, rtol=1e-5)
    assert not same_bits(*learned), "it went the other way"
    for name, value in learned[0].items():
        torch.testing.assert_close(learned[1][name], value, rtol=0, atol=1e-5)


class _Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                _Largest.numel = max(_Largest.numel, value.numel())
        return result


def test_the_logits_of_all_positions_are_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xelm.objectives.head as head

    monkeypatch.setattr(head, "CHUNK_BYTES", 4 * 48 * 5)
    largest = {}
    for loss in ("logits", "chunks"):
        _Largest.numel = 0
        with _Largest():
            stage = stage_of(tmp_path / loss, loss=loss, num_steps=2, batch_size=16)
            train_stage(tiny_llama(), stage, lambda point: None)
        largest[loss] = _Largest.numel
    assert largest["logits"] >= 16 * 15 * 48
    assert largest["chunks"] <= 16 * 16 * 32, "what the widest layer of the model gives"


def _gemma_2() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Gemma2ForCausalLM(
        Gemma2Config(vocab_size=48, num_key_value_heads=1, head_dim=8, final_logit_softcapping=5.0, **sizes)
    )


def _cohere() -> Any:
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CohereForCausalLM(CohereConfig(vocab_size=48, logit_scale=0.5, **sizes))


def _lora_on_the_head() -> Any:
    return ExpertKind.of(kind="lora", rank=2, targets=("lm_head",)).prepare(tiny_llama())


def _bart() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "dropout": 0.0}
    return BartForConditionalGeneration(BartConfig(vocab_size=48, max_position_embeddings=64, **sizes, **heads))


def test_a_bias_that_a_model_adds_to_its_logits_is_seen_even_if_it_is_zero() -> None:
    assert Head.of(_bart()) is None


@pytest.mark.parametrize("make", [_gemma_2, _cohere, _lora_on_the_head], ids=["soft-capped", "scaled", "adapted"])
def test_a_model_that_does_more_to_its_logits_keeps_them_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Any
) -> None:
    assert Head.of(make()) is None
    learned = []
    for loss in ("logits", "chunks"):
        model = make()
        train_stage(model, stage_of(tmp_path / loss, loss=loss, num_steps=3), lambda point: None)
        learned.append(weights_of(model))
    assert same_bits(*learned)
    assert "test: the loss is computed from all logits, which takes more memory" in caplog.text


def test_a_head_is_left_as_it_was_found() -> None:
    model = tiny_llama().train()
    before = model(input_ids=torch.arange(8)[None]).logits
    assert Head.of(model) is not None
    assert model.training and "forward" not in vars(model.lm_head)
    assert torch.equal(model(input_ids=torch.arange(8)[None]).logits, before)


def test_small_vocabularies_keep_their_bits_and_large_ones_need_less() -> None:
    assert not is_chunked("auto", positions=10**9, vocab_size=32_767)
    assert not is_chunked("auto", positions=100, vocab_size=128_000)  # 146 MiB
    assert is_chunked("auto", positions=2048, vocab_size=128_000)
    assert not is_chunked("logits", positions=2048, vocab_size=128_000)
    assert is_chunked("chunks", positions=1, vocab_size=8)


def test_the_dry_run_says_how_the_loss_is_computed_and_counts_the_memory() -> None:
    config = tiny_llama().config
    config.vocab_size = 250_000

    def budget(**settings: Any) -> Any:
        sections: dict[str, Any] = {"tokens": 64_000, "batch_size": 8, **settings}
        table = {"base": {"model": "x/y"}, "data": {"path": "corpus"}, "clusters": {"k": 1}, "train": sections}
        return budget_of(Recipe.from_dict(table), ClusterPlan({"a": ["deu"]}, "test"), {"deu": 100}, 512, config)

    auto, held = budget(), budget(loss="logits")
    assert "loss in chunks, without the logits of 4,096 positions (11.44 GiB)" in auto.to_text()
    assert "loss from the logits of 4,096 positions (11.44 GiB)" in held.to_text()
    assert held.memory_gib - auto.memory_gib == pytest.approx(11.44 - 0.125, abs=0.01)
