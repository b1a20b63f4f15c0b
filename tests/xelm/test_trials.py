"""Trials of donors: which starts are tried, who goes on, what it costs, and that an interruption changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from tests.xelm.training_parts import same_bits, stage_of, tiny_llama, weights_of
from xelm.adding.add import add_language, addition_bill, remove_language
from xelm.adding.donors.plan import Budget
from xelm.adding.donors.race import Looks, behind, judge
from xelm.adding.donors.signals import Signals, likeliest
from xelm.adding.text import addition_text
from xelm.run.experts import ExpertSet
from xelm.run.records.ledger import DonorCandidate
from xelm.training.loop import train_stage

STEP_TOKENS = 128
STEPS = 20
TOKENS = STEPS * STEP_TOKENS


def _candidate(name: str, loss: float, distance: float | None = None, words: float | None = None) -> DonorCandidate:
    return DonorCandidate(name, distance, "deu" if distance is not None else None, words, None, loss)


# Which starts


def test_the_likeliest_are_an_expert_by_all_signals_together_then_the_least_losses() -> None:
    own = [_candidate("c1", 4.0, 0.5, 0.0), _candidate("c2", 4.2, 0.1, 0.3), _candidate("c3", 4.1, 0.6, 0.1)]
    shared = [_candidate("base", 3.9), _candidate("dense", 4.4)]
    assert likeliest([*shared, *own]) == ["c2", "dense", "base"]


def test_dense_has_read_all_that_the_base_has_so_two_better_experts_displace_the_base() -> None:
    own = [_candidate("c1", 3.0, 0.5), _candidate("c2", 3.1, 0.9)]
    assert likeliest([_candidate("base", 3.9), _candidate("dense", 4.4), *own]) == ["c1", "c2", "dense"]


def test_losses_worse_than_blind_guessing_leave_the_word_to_typology() -> None:
    own = [_candidate("c1", 15.0, 0.5), _candidate("c2", 22.0, 0.3), _candidate("c3", 18.0, 0.4)]
    shared = [_candidate("base", 19.0), _candidate("dense", 18.0)]
    assert likeliest([*shared, *own]) == ["c2", "dense", "base"]
    assert likeliest([shared[0], *own]) == ["c2", "base", "c3"]
    assert Signals.of(own).alone() == {"loss": "c1", "typology": "c2", "overlap": None}


def test_without_typology_and_overlap_loss_alone_ranks() -> None:
    assert likeliest([_candidate("c1", 3.2), _candidate("c2", 3.0), _candidate("base", 3.1)]) == ["c2", "base", "c1"]


# Who goes on


def _nats(*sums: float, noise: float = 0.0, pieces: int = 50, seed: int = 0) -> list[np.ndarray]:
    """Nats of pieces at each look; the noise of a start does not change from look to look."""
    spread = np.random.default_rng(seed).normal(size=pieces) * noise
    spread -= spread.mean()
    return [np.full(pieces, total / pieces) + spread for total in sums]


LOOKS = Looks((0, 1, 2, 4, 8, 16, 20, 24), 5, 10_000)
DEAR = Looks((0, 1, 2, 4, 8, 16, 20, 24), 5, 10)


def test_a_start_that_is_surely_behind_stops_at_once() -> None:
    nats = {"a": _nats(200, 150), "b": _nats(205, 155), "c": _nats(200.5, 150.5, noise=1)}
    standing = judge(nats, 1, LOOKS)
    assert standing.staying == ["a", "c"], "c is too noisy to tell"
    assert standing.behind["b"] == pytest.approx(155 / 150 * ((155 / 205) / (150 / 200)) ** 0.5 - 1)


def test_a_start_that_catches_up_fast_enough_wins_though_it_is_still_behind() -> None:
    standing = judge({"a": _nats(200, 150), "b": _nats(240, 151)}, 1, LOOKS)
    assert standing.best == "b" and standing.staying == ["b"]
    assert judge({"a": _nats(200, 150), "b": _nats(240, 170)}, 1, LOOKS).staying == ["a"]


def test_nobody_is_judged_before_having_learned_a_part_of_the_difference_or_while_all_guess_blindly() -> None:
    hardly = {"a": _nats(200, 199), "b": _nats(210, 208.9)}  # half a percent learned, five behind
    assert judge(hardly, 1, LOOKS).staying == ["a", "b"]
    nats = {"a": _nats(200, 150), "b": _nats(205, 155)}
    assert judge(nats, 1, LOOKS, blind=149).staying == ["a", "b"]
    assert judge(nats, 1, LOOKS, blind=151).staying == ["a"]


def test_at_the_end_of_the_share_only_a_tie_goes_on_and_in_the_end_nobody_else() -> None:
    close = {"a": _nats(*[150] * 8, noise=1), "b": _nats(*[150.3] * 8, noise=1, seed=1), "c": _nats(*[151] * 8)}
    gap, error = behind(close["a"][5], close["b"][5])
    assert gap < error
    assert judge(close, 5, LOOKS).staying == ["a", "b"]
    assert judge({n: close[n] for n in "ab"}, 7, LOOKS).staying == ["a"]
    apart = {"a": _nats(*[150] * 8), "b": _nats(*[151] * 8)}
    assert judge(apart, 5, LOOKS).staying == ["a"]


def test_a_look_that_costs_more_than_it_may_bring_is_not_taken() -> None:
    nats = {"a": _nats(200, 150), "b": _nats(200, 150.1, noise=0.1)}
    gap, error = behind(nats["a"][1], nats["b"][1])
    assert gap < 2 * error
    assert judge(nats, 1, LOOKS).staying == ["a", "b"], "one step of 10,000 is cheap"
    assert 2 * error < DEAR.price(1) == pytest.approx(1 / 80)
    assert judge(nats, 1, DEAR).staying == ["a"]
    assert judge(nats, 1, DEAR, blind=149).staying == ["a", "b"], "blind guesses tell nothing yet"


def test_the_error_of_a_difference_is_that_of_a_ratio_over_pieces() -> None:
    best = np.array([10.0, 20.0, 30.0])
    other = np.array([12.0, 21.0, 33.0])
    gap, error = behind(best, other)
    assert gap == pytest.approx(0.1)
    # The textbook formula of a ratio's variance, divided out by hand: residuals 1, -1, 0.
    assert error == pytest.approx(np.sqrt(3 / 2 * 2) / 60)
    assert behind(best[:1], other[:1])[1] == float("inf")


def test_looks_double_within_the_share_and_two_more_are_for_ties() -> None:
    assert Looks.of(1000, 0.2) == Looks((0, 6, 12, 25, 50, 100, 200, 250, 300), 6, 1000)
    assert Looks.of(200, 0.2) == Looks((0, 4, 5, 10, 20, 40, 50, 60), 5, 200)
    assert Looks.of(20, 0.2) == Looks((0, 4, 5, 6), 1, 20)
    for steps in range(20, 300):
        for share in (0.2, 0.25):
            looks = Looks.of(steps, share)
            full, last = looks.steps[looks.full], looks.steps[-1]
            assert list(looks.steps) == sorted(set(looks.steps)) and looks.steps[1] >= 4
            assert steps - full - last >= last, "the winner has at least what it has been trained on"


def test_a_trial_takes_small_steps_and_a_share_of_few_whole_steps_is_none() -> None:
    small = Budget(num_steps=73, batch_size=16, block_tokens=256)
    assert small.tokens == 299_008 and small.trial_batch(0.2) == 1
    assert small.looks(0.2) == Looks.of(1168, 0.2)
    large = Budget(num_steps=1000, batch_size=64, block_tokens=1024)
    assert large.trial_batch(0.2) == 50, "256 steps of 50 blocks are a fifth of 64,000"
    assert Budget(10_000, 64, 1024).trial_batch(0.2) == 64, "never larger than the training's own"
    assert Budget(19, 16, 256).looks(0.2) is None, "a fifth of it is less than four steps"
    assert Budget(16, 16, 256).looks(0.25) is not None
    # In smaller steps than the recipe's a small budget is worth no more.
    assert Budget(76, 4, 256, recipe_batch=16).looks(0.2) is None and Budget(80, 4, 256, recipe_batch=16).looks(0.2)
    assert Budget(2, 1, 256, recipe_batch=16).recipe_steps == 1


# A stage that pauses


def test_a_training_that_pauses_and_goes_on_ends_as_one_that_does_not(tmp_path: Path) -> None:
    whole = tiny_llama()
    train_stage(whole, stage_of(tmp_path / "whole"), lambda point: None)
    stage = stage_of(tmp_path / "parts")
    for pause in (3, 5, 9):
        train_stage(tiny_llama(), replace(stage, pause_at=pause), lambda point: None)
    last = tiny_llama()
    train_stage(last, stage, lambda point: None)
    assert same_bits(weights_of(last), weights_of(whole))


def test_a_shortened_training_reads_the_same_blocks_up_to_its_end(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    short = stage.shortened(7)
    assert short.num_steps == 7
    assert short.order.block.tolist() == stage.order.block[: 7 * stage.settings.batch_size].tolist()


def test_the_rest_of_a_training_follows_its_small_steps_in_whole_ones(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    size, blocks = stage.settings.batch_size, stage.order.block.tolist()
    small = stage.in_small_steps(1)
    assert small.num_steps == len(blocks) and small.order.block.tolist() == blocks
    assert small.learning_rate == pytest.approx(stage.learning_rate / size**0.5)
    assert {small.schedule().rate(step) for step in range(5)} == {small.learning_rate}, "no warm-up and no decay"
    rest = stage.after(3, 2 * size)
    assert rest.order.block.tolist() == blocks[3 : 3 + size * (stage.num_steps - 3)]


# An addition


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return train_tiny(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path)


def _add(run: Path, code: str = "swe", **options: object) -> ExpertSet:
    return add_language(run, code, new_text(run.parent, code), **{"tokens": TOKENS, **options})  # type: ignore[arg-type]


def test_three_starts_are_tried_and_the_best_goes_on_within_the_budget(run: Path) -> None:
    experts = _add(run)
    assert experts.verify() == []
    line = experts.manifest.ledger[-1]
    assert len(line.trials) == 3
    assert {"base", "dense"} <= {trial.name for trial in line.trials}
    winner = line.trials[0]
    assert line.donor == winner.name == experts.manifest.experts[line.expert].parent
    assert TOKENS - STEP_TOKENS < line.tokens + line.trial_tokens <= TOKENS == line.budget_tokens
    assert line.trial_tokens == sum(trial.tokens[-1] for trial in line.trials[1:]) > 0
    for trial in line.trials:
        assert trial.tokens[0] == 0 and trial.tokens[-1] <= 0.3 * TOKENS
        assert trial.bits_per_byte[-1] < trial.bits_per_byte[0], "training helps"
    assert winner.behind_percent is None
    assert all((trial.behind_percent or 0) > 0 for trial in line.trials[1:])
    entry = experts.manifest.experts[line.expert]
    assert entry.tokens == line.tokens
    assert (entry.blocks or {})["swe"] == line.tokens // 32
    text = addition_text(line)
    assert f"{line.trial_tokens:,}" in text and "Alone, loss would have chosen" in text
    assert json.loads(json.dumps(line.to_dict()))["trials"][0]["name"] == winner.name


def test_a_start_whose_numbers_overflow_loses_and_stops_nobody(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xelm.adding.donors.trial as trial

    real = trial.train_stage

    def overflows(model: object, stage: object, on_log: object) -> object:
        if "from dense" in stage.name:  # type: ignore[attr-defined]
            raise FloatingPointError("the loss is nan at step 1.")
        return real(model, stage, on_log)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "train_stage", overflows)
    experts = _add(run)
    line = experts.manifest.ledger[-1]
    assert line.donor != "dense" and experts.verify() == []
    dense = next(one for one in line.trials if one.name == "dense")
    assert dense.tokens == [0]
    assert line.tokens + line.trial_tokens <= TOKENS - STEP_TOKENS, "its first steps are counted as spent"
    assert addition_text(line)


def test_without_trials_the_signals_choose_and_a_named_donor_is_trained_on_all_tokens(run: Path) -> None:
    line = _add(run, trial=0.0).manifest.ledger[-1]
    assert line.trials == [] and line.tokens == TOKENS and "least loss of all experts" in line.reason
    remove_language(run, "swe")
    line = _add(run, donor="base").manifest.ledger[-1]
    assert line.trials == [] and line.tokens == TOKENS


def test_a_budget_of_a_few_steps_is_not_spent_on_trials(run: Path) -> None:
    line = _add(run, tokens=2 * STEP_TOKENS).manifest.ledger[-1]
    assert line.trials == [] and line.tokens == 2 * STEP_TOKENS


def test_only_experts_are_tried_for_a_language_that_joins(run: Path) -> None:
    line = _add(run, as_="join").manifest.ledger[-1]
    assert {trial.name for trial in line.trials} == {line.expert, *(t.name for t in line.trials[1:])}
    assert not {"base", "dense"} & {trial.name for trial in line.trials}
    assert line.donor == line.expert


def _stop_at(number: int, real: Callable[..., object]) -> Callable[..., object]:
    calls = [0]

    def call(*arguments: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("xelm.training.saving.writer.save_checkpoint", 2),
        ("xelm.adding.donors.trial.write_json", 5),
        *(pytest.param("xelm.training.saving.writer.save_checkpoint", n, marks=pytest.mark.slow) for n in (1, 3, 4)),
        *(pytest.param("xelm.adding.donors.trial.write_json", n, marks=pytest.mark.slow) for n in (1, 3, 6)),
    ],
)
def test_an_interrupted_trial_goes_on_and_ends_in_the_same_bytes(
    run: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    import xelm.adding.donors.trial as trial
    import xelm.training.saving.writer as writer

    real = writer.save_checkpoint if "writer" in place else trial.write_json
    before = contents(run)
    with monkeypatch.context() as patch:
        patch.setattr(place, _stop_at(number, real))
        with pytest.raises(KeyboardInterrupt):
            _add(run)
    resumed = _kept(_add(run))
    assert not (run / "work").exists()
    remove_language(run, "swe")
    assert contents(run) == before
    assert _kept(_add(run)) == resumed


def _kept(experts: ExpertSet) -> dict[str, str]:
    return {name: sha for name, sha in contents(experts.path).items() if not name.startswith("logs/")}


def test_the_bill_says_what_the_addition_will_cost_and_leaves_no_trace(run: Path) -> None:
    before = contents(run)
    bill = addition_bill(run, "swe", new_text(run.parent, "swe"), tokens=TOKENS)
    assert contents(run) == before
    assert bill.budget_tokens == TOKENS and bill.trial_tokens == TOKENS // 5
    line = _add(run).manifest.ledger[-1]
    assert {trial.name for trial in line.trials} == set(bill.starts)
    assert bill.fewest_tokens <= line.tokens < bill.budget_tokens
    assert max(trial.tokens[-1] for trial in line.trials) <= bill.tied_tokens
    assert f"{TOKENS:,} tokens in all" in bill.to_text()
    named = addition_bill(run, "pol", new_text(run.parent, "pol"), tokens=TOKENS, donor="dense")
    assert (named.donor, named.starts, named.fewest_tokens) == ("dense", [], TOKENS)


@pytest.mark.parametrize("trial", [-0.1, 0.3, float("nan")])
def test_a_share_that_leaves_the_winner_nothing_is_refused(run: Path, trial: float) -> None:
    with pytest.raises(BadInput, match=r"trial=.* is the share of the budget .*: choose 0 \(no trial\) to 0\.25"):
        _add(run, trial=trial)
