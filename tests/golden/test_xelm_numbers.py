"""Every formula of `xelm` with one value worked out by hand (the working stands beside it)."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clustering import ClusterPlan
from clustering.corpora.find import Source
from tests.xelm.training_parts import budget_of, stage_of, tiny_llama
from xelm import Recipe
from xelm.adding import branch, label, tokenizer_fit
from xelm.adding.branch import _shares
from xelm.adding.donors.race import Looks, behind, expected
from xelm.adding.donors.signals import Signals
from xelm.adding.request import Addition
from xelm.blending.choose import Measured, _lower
from xelm.comparing.statistics import Gains, rank_correlation, spearman
from xelm.corpus.draw import apportion, sampling_shares
from xelm.corpus.mixture import Phase, mean_shares, mixture, phase_counts, unimax_shares, with_replay
from xelm.corpus.splits import _by_share, _hash_share
from xelm.evaluation.evaluate import _summary
from xelm.making.budgets import budget
from xelm.measuring.updates import _cosines
from xelm.models.interpolation import _wide
from xelm.models.layer_groups import layer_of
from xelm.recipe.recipe import Train
from xelm.run.records.ledger import DonorCandidate
from xelm.run.records.results import Cell, Evaluation, Forgetting
from xelm.training.anchor import Anchor
from xelm.training.course.optimizers import make_optimizer
from xelm.training.course.schedule import Schedule
from xelm.training.loop import train_stage
from xelm.vocabulary.rows import frequency
from xelm.vocabulary.training import rate_of_rows

NEAR = pytest.approx


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # 12 steps, 2 of warm-up (1/6 of them): 0.5, 1; then nine steps down to a tenth, done = 0, 1/9, …, 1.
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.1 + 0.9 * 6 / 9, 0.1]),
        ("cosine", [0.5, 1.0, 1.0, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 3)), 0.1]),
        ("wsd", [0.5, 1.0, 1.0, 1.0, 0.1]),  # the last fifth alone: at 3/9 still at the peak
    ],
)
def test_learning_rates(kind: str, expected: list[float]) -> None:
    schedule = Schedule(kind=kind, peak=1.0, num_steps=12, warmup_fraction=1 / 6, min_ratio=0.1)  # type: ignore[arg-type]
    assert [schedule.rate(step) for step in (0, 1, 2, 5, 11)] == NEAR(expected)
    if kind == "wsd":  # at 8/9 of the way: (1 − 8/9) / 0.2 = 5/9 of the height
        assert schedule.rate(10) == NEAR(0.1 + 0.9 * 5 / 9)


def test_norms_and_biases_have_no_weight_decay(tmp_path: Path) -> None:
    model = tiny_llama(attention_bias=True)
    stage = stage_of(tmp_path, weight_decay=0.25, learning_rate=0.5)
    optimizer = make_optimizer(model, stage.settings, stage.learning_rate)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        plain = "norm" in name or name.endswith("bias")
        assert decays[id(parameter)] == (0.0 if plain else 0.25), name
    for group in optimizer.param_groups:
        assert (group["lr"], tuple(group["betas"])) == (0.5, (0.9, 0.95))  # as GPT-3 and Llama were trained


def test_new_rows_learn_at_a_rate_of_their_own(tmp_path: Path) -> None:
    model = tiny_llama()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stage = stage_of(tmp_path, num_steps=1, weight_decay=0.0, learning_rate=1e-3, schedule="constant", warmup_steps=1)
    train_stage(model, replace(stage, rows_rate=lambda: 0.05), lambda _: None)
    # The first step of Adam moves a value by the rate, whatever its gradient.
    for name, p in model.named_parameters():
        moved = float((p.detach() - before[name]).abs().max())
        has_rows = "embed" in name or "head" in name
        assert moved == pytest.approx(0.05 if has_rows else 1e-3, rel=1e-2), name


def test_new_rows_decay_as_the_others() -> None:
    model = tiny_llama(tie_word_embeddings=True)
    rows, settings = model.get_input_embeddings().weight, Train(tokens=1024, weight_decay=0.25)
    for rate, times in ((0.01, 5.0), (0.2, 0.25)):
        [group] = [g for g in make_optimizer(model, settings, rate, rows_rate=0.05).param_groups if "times" in g]
        assert [id(p) for p in group["params"]] == [id(rows)]
        assert group["times"] == NEAR(times)
        assert group["times"] * group["weight_decay"] == NEAR(0.25)


def test_the_rate_of_new_rows_moves_a_score_by_so_much_at_most(tmp_path: Path) -> None:
    # Values of ±r change a score by r times the sum of the absolute values that the head is given: 80 · r is
    # 0.5 at 20,480 tokens, half of it at a quarter, and three times as much at nine times as many, and from there on.
    record = {"new_pieces": 1, "first_new": 9, "pieces": 10, "fingerprint": "a", "rows": "mean", "bits_per_byte": {}}
    record |= {"tokens_a_word": {"1": 2.0}, "aim": None, "head_input": 80.0}
    (tmp_path / "vocabulary.json").write_text(json.dumps(record))
    wanted = {20_480: 0.5, 5_120: 0.25, 9 * 20_480: 1.5, 10**9: 1.5, None: 1.0}
    assert {tokens: 80 * rate_of_rows(tmp_path, tokens) for tokens in wanted} == NEAR(wanted)


def test_rows_shifted_to_frequencies() -> None:
    # Along (3, 4), whose square is 25. Two pieces seen 2.5 - 0.5 = 2 and 19.5 - 0.5 = 19 times, others 10 times with
    # log-sum-exp 1.5: wanted are 1.5 + log(0.25) and 1.5 + log(1.95); they have 0.2 and 1.
    heard = frequency.Heard(torch.tensor([3.0, 4.0]), 7.0, torch.tensor([0.2, 1.0]), 1.5)
    rows = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    shifted = frequency.as_frequent(rows, heard, np.array([2, 19]), 10)
    steps = [(1.5 + math.log(0.25) - 0.2) / 25, (1.5 + math.log(1.95) - 1.0) / 25]
    assert shifted.tolist() == [
        NEAR([1 + 3 * steps[0], 1 + 4 * steps[0]], rel=1e-5),
        NEAR([3 * steps[1], 2 + 4 * steps[1]], rel=1e-5),
    ]


def test_shares_by_temperature() -> None:
    assert sampling_shares({"a": 100, "b": 400}, 1.0) == NEAR({"a": 0.2, "b": 0.8})
    assert sampling_shares({"a": 100, "b": 400}, 2.0) == NEAR({"a": 1 / 3, "b": 2 / 3})  # roots 10 and 20


def test_whole_numbers_by_largest_remainder() -> None:
    # 10 in 1 : 1 : 1.5 is 2.86, 2.86, 4.29: rounded down 2, 2, 4; two left, for the largest remainders, .86 and .86.
    assert apportion(10, {"a": 1.0, "b": 1.0, "c": 1.5}) == {"a": 3, "b": 3, "c": 4}


def test_unimax_caps_epochs_from_the_smallest_on() -> None:
    # 100 draws over 10, 20 and 500 blocks, at most 2 epochs: 20 (cap), min(80/2, 40) = 40 (cap), the rest, 40.
    assert unimax_shares({"a": 10, "b": 20, "c": 500}, 100, 2.0) == NEAR({"a": 0.2, "b": 0.4, "c": 0.4})
    # Too little text for 1,000 draws: 20, 40 and 1,000 may be drawn, 940 are left for the last.
    assert unimax_shares({"a": 10, "b": 20, "c": 500}, 1000, 2.0) == NEAR({"a": 0.02, "b": 0.04, "c": 0.94})


def test_an_annealed_temperature_moves_by_its_inverse_and_late_languages_wait() -> None:
    phases = mixture({"a": 100, "b": 400}, Train(tokens=1, final_sampling_temperature=2.0), 10)
    assert len(phases) == 10 and [phase.fraction for phase in phases] == NEAR([0.1] * 10)
    # In the first tenth, on average at 0.05: 1/T = 0.95 + 0.05/2 = 0.975.
    weights = 100**0.975, 400**0.975
    assert phases[0].shares["a"] == NEAR(weights[0] / sum(weights))
    late = mixture({"a": 100, "b": 400}, Train(tokens=1), 10)
    assert [phase.shares for phase in late] == [NEAR({"a": 0.2, "b": 0.8})]
    entering = mixture({"deu": 100, "nld": 100}, Train(tokens=1, enters={"nld": 0.75}), 8)
    assert [(phase.fraction, phase.shares) for phase in entering] == [
        (0.75, {"deu": 1.0}),
        (0.25, NEAR({"deu": 0.5, "nld": 0.5})),
    ]
    assert mean_shares(entering) == NEAR({"deu": 0.875, "nld": 0.125})
    assert phase_counts(entering, 8) == [{"deu": 6}, {"deu": 1, "nld": 1}]


def test_replay_takes_its_share_evenly() -> None:
    addition = Addition(language="por", source=Source("por"), replay=0.3)
    assert _shares(addition, ["deu", "nld"]) == NEAR({"por": 0.7, "deu": 0.15, "nld": 0.15})
    assert _shares(addition, []) == {"por": 1.0}


def test_gain_is_a_share_of_dense_s_bits() -> None:
    def cells(first: float, second: float) -> dict[str, Cell]:
        of = {"deu": first, "nld": second}
        return {code: Cell.of(bits * math.log(2) * 10, 5, 10, 1) for code, bits in of.items()}

    found = Evaluation(
        "test",
        {"deu": "a", "nld": "a"},
        models={"base": cells(4, 4), "dense": cells(2.0, 1.0), "a": cells(1.8, 1.1)},
        routed={"top1": cells(1.8, 1.1)},
    )
    summary = _summary(found, ["deu", "nld"])
    # 1 − 1.8/2 = 10 %, 1 − 1.1/1 = −10 % (over the routed figure they would be 11.1 % and −9.1 %).
    assert summary.gain_percent == NEAR({"deu": 10.0, "nld": -10.0})
    assert (summary.wins, summary.languages) == (1, 2) and summary.mean_gain_percent == NEAR(0.0)
    assert _summary(found, ["deu"]).gain_percent == NEAR({"deu": 10.0})
    lost = Forgetting.of(cells(1.8, 1.1), cells(2.0, 1.0), ["deu"])
    assert (lost.own_gain_percent, lost.cost_elsewhere_percent) == (NEAR(10.0), NEAR(10.0))


def test_a_cell() -> None:
    cell = Cell.of(nats=10 * math.log(2), tokens=5, num_bytes=4, documents=1)
    assert cell.bits_per_byte == NEAR(2.5) and cell.perplexity == NEAR(4.0)  # exp(10 ln 2 / 5) = 2²


def _recipe(**train: object) -> Recipe:
    base = {"new": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "context_length": 32, "tokens": 512}}
    return Recipe.from_dict(
        {
            "base": base,
            "data": {"path": "corpus"},
            "clusters": {"k": 2},
            "train": {"tokens": 1280, "batch_size": 4, **train},
        }
    )


def test_a_budget() -> None:
    config = tiny_llama(num_layers=2).config
    plan = ClusterPlan({"a": ["deu", "nld"], "b": ["rus"]}, "test")
    blocks = {"deu": 10, "nld": 10, "rus": 20}
    found = budget_of(_recipe(), plan, blocks, 32, config)
    # A step is 4 · 32 = 128 tokens: 10 steps, halved (20 blocks each); 20 draws an expert, so each text is read once.
    assert {name: stage.steps for name, stage in found.experts.items()} == {"a": 5, "b": 5}
    assert found.experts["a"].epochs == NEAR({"deu": 1.0, "nld": 1.0}) and found.experts["b"].tokens == 640
    assert found.base is not None and found.dense is not None
    assert (found.base.steps, found.dense.steps) == (4, 10)  # 512 and 1,280 tokens
    uneven = budget_of(_recipe(share="equal"), plan, {**blocks, "rus": 180}, 32, config)
    assert {name: stage.steps for name, stage in uneven.experts.items()} == {"a": 5, "b": 5}
    by_text = budget_of(_recipe(), plan, {**blocks, "rus": 180}, 32, config)
    assert {name: stage.steps for name, stage in by_text.experts.items()} == {"a": 1, "b": 9}


def test_memory_and_disk() -> None:
    config = tiny_llama(num_layers=2).config  # 64 tokens of vocabulary or so, width 16
    found = budget_of(_recipe(), ClusterPlan({"a": ["deu"]}, "test"), {"deu": 10}, 32, config)
    parameters = sum(p.numel() for p in tiny_llama(num_layers=2).parameters())
    assert found.num_parameters == parameters
    # Weights 4 bytes each; gradient 4, two moments 8; activations of 4 · 32 tokens in fp32: 2 layers · 17 · 16 values
    # (34 halved: that figure is in bytes of fp16), and 3 of the vocabulary.
    activations = 4 * 32 * (2 * 17 * 16 + 3 * config.vocab_size) * 4
    assert found.memory_gib * 2**30 == NEAR(parameters * 16 + activations)
    # One expert, base and dense, and a checkpoint of three: 6 times the weights.
    assert found.disk_gib * 2**30 == NEAR(6 * parameters * 4)
    thrifty = _recipe(gradient_checkpointing=True, micro_batch_size=2)
    saved = budget_of(thrifty, ClusterPlan({"a": ["deu"]}, "test"), {"deu": 10}, 32, config)
    assert saved.memory_gib * 2**30 == NEAR(parameters * 16 + 2 * 32 * (17 * 16 + 3 * config.vocab_size) * 4)


def test_limits_that_warnings_and_refusals_hang_on() -> None:
    # Chosen on the experiments with new languages; a change of one belongs with a new measurement.
    assert (branch._MOST_EPOCHS, budget._MANY_EPOCHS, label._OTHER_LANGUAGE) == (40, 40, 0.9)
    limits = tokenizer_fit._MANY_TOKENS, tokenizer_fit._MANY_TOKENS_A_WORD, tokenizer_fit._MANY_PIECES
    assert (*limits, tokenizer_fit._MANY_UNKNOWN) == (1.5, 2.0, 0.2, 0.001)


@pytest.mark.parametrize(("bits", "donor"), [(7.99, "a"), (8.0, "b")])
def test_loss_decides_the_donor_under_eight_bits(bits: float, donor: str) -> None:
    # 8 bits a byte is blind guessing among 256: typology decides then.
    own = [
        DonorCandidate(name="a", distance=0.5, nearest="deu", overlap=None, subword_overlap=None, bits_per_byte=bits),
        DonorCandidate(name="b", distance=0.1, nearest="nld", overlap=None, subword_overlap=None, bits_per_byte=9.0),
    ]
    assert Signals.of(own).decide()[0] == donor


def test_gains_against_dense_and_their_interval() -> None:
    # Bits 3 against 6 in one language and 9 against 12 in the other: 50 % and 25 %.
    arms = {"a": [{"deu": np.array([1.0, 1.0, 1.0]), "nld": np.array([9.0])}]}
    dense = [{"deu": np.array([1.0, 1.0, 4.0]), "nld": np.array([12.0])}]
    gains = Gains(arms, dense)
    assert gains.of("a").tolist() == [[NEAR(50.0), NEAR(25.0)]]
    # Of three German documents the last is drawn 3, 2, 1 or 0 times (4, 22, 44, 30 % of the draws), so dense costs 12,
    # 9, 6 or 3, and the gain is 75, 67, 50 or 0 %. The 2.5 % on top are all 75 %, those below all 0 %.
    found = gains.mean(["a"])
    assert (found.value, found.low, found.high) == NEAR((37.5, 12.5, 50.0))
    assert found.excludes_zero
    worse = Gains({**arms, "b": [dense[0]]}, dense).difference("b", ["a"])
    assert (worse.value, worse.low, worse.high) == NEAR((-37.5, -50.0, -12.5))


def test_spearman_shares_the_ranks_of_ties() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert spearman(np.array([1.0, 2.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])) == NEAR(4.5 / math.sqrt(22.5))
    assert rank_correlation([1, 2, 3], [3, 2, 1]) is None  # fewer than four plans
    falling = rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])
    assert falling is not None and falling.value == NEAR(-1.0) and falling.high == NEAR(-1.0)


def test_an_expert_moved_back_keeps_gain_and_costs_elsewhere() -> None:
    base = {"deu": np.array([4.0, 6.0]), "nld": np.array([5.0]), "rus": np.array([10.0])}
    moved = {"deu": np.array([4.0, 4.0]), "nld": np.array([4.0]), "rus": np.array([11.0])}
    expert = Measured(["deu", "nld"], base, {1.0: moved})
    assert expert.gain(1.0) == NEAR(0.2)  # 8 of 10 and 4 of 5
    assert expert.cost(1.0) == NEAR(0.1)
    # Margins are √2 times the errors. c differs from the median 0.9 by more than 3 of its margins: it keeps its own
    # share less its margin. a and b get the median less the usual margin.
    found = _lower({"a": (0.9, 0.01), "b": (0.92, 0.01), "c": (0.5, 0.02)})
    usual = 0.01 * math.sqrt(2)
    assert list(found.values()) == NEAR([0.9 - usual, 0.9 - usual, 0.5 - 2 * usual])


def test_cosines_of_updates() -> None:
    found = _cosines(np.array([[4.0, 3.0, 0.0], [3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found.tolist() == [[1.0, NEAR(0.5), 0.0], [NEAR(0.5), 1.0, 0.0], [0.0, 0.0, 1.0]]  # 3 / (2 · 3)
    names = [
        "model.layers.11.mlp.up_proj.weight",
        "model.embed_tokens.weight",
        "transformer.wte.weight",
        "lm_head.weight",
    ]
    assert [layer_of(name) for name in names] == ["11", "embedding", "embedding", "other"]


def test_documents_are_held_out_by_a_hash_of_their_text() -> None:
    first = hashlib.sha256(b"a").hexdigest()[:8]
    assert first == "ca978112" and _hash_share("a") == int(first, 16) / 2**32
    assert [_by_share(share, 0.02, 0.03) for share in (0.0, 0.0199, 0.02, 0.0499, 0.05)] == [
        "valid",
        "valid",
        "test",
        "test",
        "train",
    ]


def test_weights_are_moved_in_float32_at_least() -> None:
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    wide = [_wide(torch.zeros(1, dtype=kind)) for kind in kinds]
    assert wide == [torch.float32, torch.float32, torch.float32, torch.float64]


def test_trials_are_looked_at_ever_later_and_leave_room_for_the_winner() -> None:
    # A fifth of 200 steps is 40; looks at 1/32 to 3/2 of it, none before 4: 1.25, 2.5, 5, 10, 20, 40, 50, 60.
    assert Looks.of(200, 0.2) == Looks((0, 4, 5, 10, 20, 40, 50, 60), 5, 200)
    # Of 30 steps 0.3 are 9; no look is later than (30 - 9) / 2 = 10, so that two losers leave the winner its own.
    assert Looks.of(30, 0.3) == Looks((0, 4, 9, 10), 2, 30)
    # From step 10 to 20 a start takes a twentieth of 200 steps, an eighth of which is what the winner's loss rises by.
    assert Looks.of(200, 0.2).price(3) == NEAR(1 / 160)
    # From 100 to 80 nats the logarithm fell by log 0.8; by the next look, by half of that.
    assert expected([np.array([60.0, 40.0]), np.array([50.0, 30.0])], 1) == NEAR(math.log(80 * math.sqrt(0.8)))
    # 12 of 10 nats: 0.2 more. Left over from 1.2 times the best: 1.2 and -1.2; √(2/1 · 2.88) / 10.
    assert behind(np.array([4.0, 6.0]), np.array([6.0, 6.0])) == NEAR((0.2, 0.24))


def test_replay_takes_its_share_of_every_phase() -> None:
    phases = with_replay([Phase(1.0, {"deu": 0.75, "nld": 0.25})], {"rus": 3.0, "ukr": 1.0}, 0.2)
    assert phases[0].shares == NEAR({"deu": 0.6, "nld": 0.2, "rus": 0.15, "ukr": 0.05})


def test_an_anchor_pulls_by_rate_times_strength() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    anchor = Anchor([(weight, torch.tensor([3.0]), 0.5)])
    anchor.pull(0.2)  # a tenth of the way from 1 to 3
    assert weight.item() == NEAR(1.2)
    anchor.pull(100.0)  # never beyond
    assert weight.item() == NEAR(3.0)
