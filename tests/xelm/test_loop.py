"""The training loop: what the loss is, what changes it and what does not."""

from __future__ import annotations

import itertools
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.xelm.training_parts import blocks_of, random_documents, same_bits, stage_of, tiny_llama, weights_of
from xelm.expert_kinds.kind import ExpertKind
from xelm.objectives.causal import CausalBatches
from xelm.run.failures import in_a_sentence
from xelm.training.batches import ahead, pinned
from xelm.training.course.schedule import Schedule
from xelm.training.loop import step_for_step, train_stage
from xelm.training.readings import flops_per_token


def _quiet(_point: dict[str, Any]) -> None:
    pass


def _train(model: Any, folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    train_stage(model, stage_of(folder, **settings), _quiet)
    return weights_of(model)


def _largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_packed_documents_have_the_loss_and_gradients_of_each_document_alone() -> None:
    documents = [[1, 5, 9, 2], [1, 7, 2], [1, 30, 31, 32, 33, 34, 2], [1, 9, 9, 2]]
    packed = tiny_llama()
    draws = np.arange(2)
    batch = CausalBatches().batch(*blocks_of(documents, 9).take(draws), draws, 0.0)
    loss = batch.summed_loss(packed, isolated=True, device=torch.device("cpu"))
    loss.backward()

    alone, expected = tiny_llama(), torch.zeros(())
    # As the blocks cut them: the third document falls into two pieces, which cannot see each other.
    for piece in ([1, 5, 9, 2], [1, 7, 2], [1, 30], [31, 32, 33, 34, 2], [1, 9, 9, 2]):
        one = torch.tensor([piece])
        expected = expected + alone(input_ids=one, labels=one).loss * (len(piece) - 1)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for p, q in zip(packed.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-4)


def test_the_first_token_of_a_document_is_never_a_target() -> None:
    model = tiny_llama()
    ids, positions, draws = np.array([[3, 4, 3, 4]]), np.array([[0, 1, 0, 1]]), np.array([0])
    with torch.no_grad():
        both = (
            CausalBatches()
            .batch(ids, positions, draws, 0.0)
            .summed_loss(model, isolated=True, device=torch.device("cpu"))
        )
        one = (
            CausalBatches()
            .batch(ids[:, :2], positions[:, :2], draws, 0.0)
            .summed_loss(model, isolated=True, device=torch.device("cpu"))
        )
    torch.testing.assert_close(both, 2 * one)


def test_training_lowers_the_loss_and_says_what_it_did(tmp_path: Path) -> None:
    points: list[dict[str, Any]] = []
    model, stage = tiny_llama(), stage_of(tmp_path, num_steps=30, learning_rate=2e-2)
    trained = train_stage(model, stage, points.append)
    assert trained.tokens == 30 * 4 * 16
    assert trained.isolation == "attention"
    assert [point["step"] for point in trained.history] == list(range(1, 31))
    assert trained.history[-1]["tokens"] == trained.tokens
    assert trained.history[0]["loss"] == pytest.approx(np.log(48), abs=0.1), "nats per token, before anything is known"
    assert trained.history[-1]["loss"] < trained.history[0]["loss"] - 0.5
    assert [point["loss"] for point in points] == [point["loss"] for point in trained.history]
    assert all(point["stage"] == "test" and point["tokens_per_s"] > 0 for point in points)
    assert not model.training


def test_a_long_training_logs_about_a_hundred_points_whose_steps_cover_it(tmp_path: Path) -> None:
    trained = train_stage(tiny_llama(), stage_of(tmp_path, num_steps=250, batch_size=1), _quiet)
    assert len(trained.history) == 125
    assert trained.history[-1]["step"] == 250


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_micro_batches_do_not_change_what_is_learned(tmp_path: Path, micro_batch_size: int) -> None:
    whole = _train(tiny_llama(), tmp_path / "a")
    parts = _train(tiny_llama(), tmp_path / "b", micro_batch_size=micro_batch_size)
    assert _largest_difference(whole, parts) < 1e-5


def test_gradient_checkpointing_does_not_change_what_is_learned(tmp_path: Path) -> None:
    whole = _train(tiny_llama(), tmp_path / "a")
    thrifty = _train(tiny_llama(), tmp_path / "b", gradient_checkpointing=True)
    assert _largest_difference(whole, thrifty) < 1e-5


def test_gradient_checkpointing_is_asked_for_by_the_call_that_stays(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # transformers 6 drops the other one
        _train(tiny_llama(), tmp_path, gradient_checkpointing=True)


def test_bf16_learns_nearly_the_same_and_leaves_the_weights_in_full_precision(tmp_path: Path) -> None:
    exact = _train(tiny_llama(), tmp_path / "a")
    rough = _train(tiny_llama(), tmp_path / "b", precision="bf16")
    assert all(value.dtype == torch.float32 for value in rough.values())
    assert 0 < _largest_difference(exact, rough) < 0.1


def test_a_training_is_the_same_each_time_and_hangs_on_its_seed(tmp_path: Path) -> None:
    first = _train(tiny_llama(attention_dropout=0.2), tmp_path / "a")
    torch.manual_seed(999)
    assert same_bits(first, _train(tiny_llama(attention_dropout=0.2), tmp_path / "b"))
    assert not same_bits(first, _train(tiny_llama(attention_dropout=0.2), tmp_path / "c", seed=1))


@pytest.mark.parametrize(
    "changed",
    [{"weight_decay": 0.0}, {"clip_norm": 1e-3}, {"schedule": "constant"}, {"warmup_fraction": 0.5}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_setting_really_changes_what_is_learned(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert not same_bits(_train(tiny_llama(), tmp_path / "a"), _train(tiny_llama(), tmp_path / "b", **changed))


def test_a_model_that_attends_across_documents_is_trained_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=48, hidden_size=16, n_layer=1, n_head=2))
    trained = train_stage(model, stage_of(tmp_path, num_steps=2), _quiet)
    assert trained.isolation == "loss"
    assert "attends across packed documents" in caplog.text


def test_a_loss_that_is_no_number_stops_with_the_remedy_and_leaves_no_checkpoint_of_it(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    stage = stage_of(tmp_path, num_steps=400, checkpoint_every_steps=1)
    with pytest.raises(FloatingPointError, match=r"test: the loss is nan at step 1\. Lower the learning rate"):
        train_stage(model, stage, _quiet)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("error", "settings", "lora", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
            {},
            False,
            "test: the memory of the GPU (cpu) is too small for this training. Set, in this order: [train] "
            'micro_batch_size = 2 (now 4), gradient_checkpointing = true, precision = "bf16". '
            "The training resumes from its last checkpoint.",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"),
            {"micro_batch_size": 1, "gradient_checkpointing": True, "precision": "bf16"},
            True,
            "test: the memory of this machine is too small for this training. No setting of the engine needs less: use "
            "a device with more memory, or share the model out over several "
            "processes (the options processes and fsdp).",
        ),
    ],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_is_told_with_what_needs_less(
    tmp_path: Path, error: Exception, settings: dict[str, Any], lora: bool, told: str
) -> None:
    model = tiny_llama()
    if lora:
        model = ExpertKind.of(kind="lora", rank=2).prepare(model)

    def run_out(*_: Any) -> None:
        raise error

    # Only once it trains: before, its masks are looked at.
    model.get_input_embeddings().register_forward_hook(lambda module, *_: run_out() if module.training else None)
    with pytest.raises(MemoryError) as caught:
        train_stage(model, stage_of(tmp_path, **settings), _quiet)
    assert in_a_sentence(caught.value) == str(caught.value) == told


def test_other_errors_of_a_training_stay_what_they_are(tmp_path: Path) -> None:
    model = tiny_llama()
    model.get_input_embeddings().register_forward_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        train_stage(model, stage_of(tmp_path), _quiet)


def test_documents_of_one_token_have_no_target_and_do_no_harm(tmp_path: Path) -> None:
    blocks = blocks_of([[5]] * 16 + random_documents(40), 16)
    weights = _train(tiny_llama(), tmp_path, blocks=blocks, batch_size=1, num_steps=len(blocks))
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


def _rates(kind: Any, num_steps: int = 100, warmup_fraction: float = 0.1, min_ratio: float = 0.1) -> list[float]:
    schedule = Schedule(kind=kind, peak=2.0, num_steps=num_steps, warmup_fraction=warmup_fraction, min_ratio=min_ratio)
    return [schedule.rate(step) for step in range(num_steps)]


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd", "constant"])
def test_a_schedule_warms_up_to_the_peak_and_never_passes_it(kind: str) -> None:
    rates = _rates(kind)
    assert rates[:10] == pytest.approx([0.2 * i for i in range(1, 11)])
    assert max(rates) == pytest.approx(2.0)
    assert min(rates[10:]) >= 0.2 - 1e-9
    assert all(a >= b for a, b in itertools.pairwise(rates[9:])), "after the peak it never rises"


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("num_steps", [2, 3, 10, 97])
def test_a_schedule_ends_at_its_lowest_rate(kind: str, num_steps: int) -> None:
    assert _rates(kind, num_steps)[-1] == pytest.approx(0.2)


def test_schedules_have_their_own_shapes() -> None:
    assert _rates("constant")[10:] == [2.0] * 90
    assert _rates("linear")[55] == pytest.approx(0.2 + 1.8 * (1 - 45 / 89))
    assert _rates("cosine")[55] == pytest.approx(0.2 + 0.9 * (1 + np.cos(np.pi * 45 / 89)))
    wsd = _rates("wsd")
    assert wsd[81] == pytest.approx(2.0)
    assert wsd[83] < 2.0


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("warmup_fraction", [0.0, 1.0])
@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_the_shortest_trainings_have_rates_too(kind: str, warmup_fraction: float, num_steps: int) -> None:
    rates = _rates(kind, num_steps, warmup_fraction)
    assert all(0 < rate <= 2.0 for rate in rates)


def test_weights_that_are_no_numbers_after_the_last_step_are_refused(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, num_steps=1, learning_rate=1e38, warmup_fraction=0.0)
    with pytest.raises(FloatingPointError, match=r"test: .*after (step 1|the last step).*Lower the"):
        train_stage(tiny_llama(), stage, _quiet)


@pytest.mark.parametrize("step", [0, 3])
def test_a_gradient_that_is_no_number_is_refused_at_its_step(tmp_path: Path, step: int) -> None:
    model, calls = tiny_llama(), iter(range(100))
    before: list[dict[str, torch.Tensor]] = []

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        if next(calls) < step:
            return gradient
        before.append(weights_of(model))
        return gradient * float("nan")

    model.lm_head.weight.register_hook(spoil)
    stage = stage_of(tmp_path, num_steps=step + 1, checkpoint_every_steps=1)
    with pytest.raises(FloatingPointError, match=rf"the gradient's norm is nan at step {step + 1}\. Lower the"):
        train_stage(model, stage, _quiet)
    assert same_bits(weights_of(model), before[0]), "the step was not taken"


def test_no_checkpoint_holds_weights_that_are_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xelm.training.loop as loop

    def spoil(accelerator: Any, model: Any, *rest: Any) -> tuple[torch.Tensor, None]:
        with torch.no_grad():
            next(model.parameters())[0, 0] = float("inf")
        return torch.ones(()), None

    monkeypatch.setattr(loop, "make_gradients", spoil)
    with pytest.raises(FloatingPointError, match="1 weights are no numbers after step 2"):
        train_stage(tiny_llama(), stage_of(tmp_path, checkpoint_every_steps=2), _quiet)
    assert not list(tmp_path.rglob("*.safetensors"))


class _Waits(TorchDispatchMode):
    """Counts what would wait for a GPU: values, and sizes that hang on values, read from the device.

    transformers looks once a pass whether positions begin again; that is not ours and not counted.
    """

    seen: ClassVar[list[str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select"):
            if any("masking_utils" in frame.filename for frame in traceback.extract_stack()):
                return func(*args, **(kwargs or {}))
            _Waits.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", ["logits", "chunks"])
def test_a_device_is_waited_for_at_points_of_the_curve_and_checkpoints_only(tmp_path: Path, loss: str) -> None:
    steps: list[list[str]] = []
    stage = stage_of(tmp_path, num_steps=2000, batch_size=1, checkpoint_every_steps=10**9, loss=loss)
    losses = step_for_step(tiny_llama(), stage)
    next(losses)
    with _Waits():
        for _ in range(10):
            _Waits.seen.clear()
            next(losses)
            steps.append(list(_Waits.seen))
    losses.close()
    assert steps == [[]] * 10


@pytest.mark.parametrize("bad", [61, 62])
def test_a_loss_that_is_no_number_between_two_points_is_named_by_its_step(tmp_path: Path, bad: int) -> None:
    """Points are three steps apart, at 60 and 63; at the second one the device is read."""
    model, calls = tiny_llama(), itertools.count(1)

    def spoil(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        return output * float("nan") if module.training and next(calls) == bad else None

    model.lm_head.register_forward_hook(spoil)
    stage = stage_of(tmp_path, num_steps=300, batch_size=1, checkpoint_every_steps=2 * bad)
    seen: list[int] = []
    with pytest.raises(FloatingPointError, match=rf"the loss is nan at step {bad}\."):
        train_stage(model, stage, lambda point: seen.append(point["step"]))
    assert seen[-1] == 60
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_point_tells_norm_rate_speed_memory_and_the_time_left(tmp_path: Path) -> None:
    points: list[dict[str, Any]] = []
    stage = stage_of(tmp_path, num_steps=10, clip_norm=1e-3)
    trained = train_stage(tiny_llama(), stage, points.append)
    assert set(trained.history[0]) == {"step", "tokens", "loss"}, "the curve that is kept"
    assert [point["learning_rate"] for point in points] == [stage.schedule().rate(step) for step in range(10)]
    assert all(point["gradient_norm"] > 1e-3 for point in points), "before it is clipped"
    assert all(point["peak_memory_gib"] > 0.01 for point in points)
    assert points[-1]["seconds_left"] == 0
    assert "mfu" not in points[0], "a CPU's peak is not known"


def test_flops_are_counted_without_what_is_computed_in_vain() -> None:
    model = tiny_llama()  # width 16, of which 32 inside, a vocabulary of 48
    layer, head = 4 * 16 * 16 + 3 * 16 * 32, 48 * 16
    attention = 12 * 1 * 16 * 10 / 2
    assert flops_per_token(model, 10) == 6 * (layer + head) + attention
    assert flops_per_token(tiny_llama(tie_word_embeddings=True), 10) == 6 * (layer + head) + attention
    frozen = ExpertKind.of(kind="lora", rank=1).prepare(tiny_llama())
    adapters = sum(p.numel() for p in frozen.parameters() if p.requires_grad)
    assert flops_per_token(frozen, 10) == 4 * (layer + head) + 6 * adapters + attention


def test_batches_are_made_ahead_in_order_and_an_error_comes_at_its_step() -> None:
    def make(step: int) -> int:
        if step == 7:
            raise OSError("the text is gone")
        return step * step

    assert list(ahead(make, range(3, 6))) == [9, 16, 25]
    got = ahead(make, range(4, 20))
    assert [next(got) for _ in range(3)] == [16, 25, 36]
    with pytest.raises(OSError, match="the text is gone"):
        next(got)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_pinned_memory_changes_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)  # here is no GPU that could pin it
    draws = np.arange(2)
    batch = CausalBatches().batch(*blocks_of(random_documents(9), 8).take(draws), draws, 0.0)
    moved = pinned(batch)
    assert type(moved) is type(batch) and moved.input_ids is not batch.input_ids
    assert all(np.array_equal(getattr(moved, name), getattr(batch, name)) for name in ("input_ids", "labels"))
    assert pinned("another package's") == "another package's"


@pytest.mark.slow
def test_compiled_layers_train_the_same_model(tmp_path: Path) -> None:
    plain, compiled = tiny_llama(num_layers=2), tiny_llama(num_layers=2)
    train_stage(plain, stage_of(tmp_path / "a"), lambda _: None)
    train_stage(compiled, stage_of(tmp_path / "b", compile=True), lambda _: None)
    assert all(layer._compiled_call_impl for layer in compiled.model.layers)
    expected, found = weights_of(plain), weights_of(compiled)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=0)
