"""Adding languages to a finished run and taking them out again: what changes, and what must not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import xelm
from clustering.errors import BadInput
from clustering.files import sha256_of
from tests.xelm.adding import NEW_WORDS, OLD, contents, copy_of, models_of, new_text, train_tiny
from tests.xelm.conftest import WORDS
from xelm.adding.add import add_language, remove_language
from xelm.run.experts import ExpertSet

TOKENS = 512


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return train_tiny(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path)


@pytest.fixture(scope="module")
def with_greek(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with Greek added; no test changes it."""
    run = copy_of(finished, tmp_path_factory.mktemp("with-greek"))
    add_language(run, "Greek", new_text(run.parent, "ell"), tokens=TOKENS)
    return run


def _add(run: Path, code: str, **options: object) -> ExpertSet:
    return add_language(run, code, new_text(run.parent, code), **{"tokens": TOKENS, **options})  # type: ignore[arg-type]


def test_a_new_language_gets_an_expert_of_its_own_and_no_other_file_of_a_model_changes(run: Path) -> None:
    start = ExpertSet.load(run)
    before = models_of(run, start.models)
    experts = _add(run, "swe")
    assert models_of(run, start.models) == before
    assert experts.verify() == []
    assert experts.languages == [*OLD, "swe"]
    expert = experts.plan.cluster_of("swe")
    assert experts.plan.clusters[expert] == ["swe"]
    assert {code: experts.plan.cluster_of(code) for code in OLD} == {c: start.plan.cluster_of(c) for c in OLD}
    assert experts.plan.version == start.plan.version + 1
    entry = experts.manifest.experts[expert]
    assert (entry.state, entry.tokens, entry.parent) == ("done", TOKENS, experts.manifest.ledger[-1].donor)


def test_a_grown_run_routes_and_generates_in_the_new_language(with_greek: Path) -> None:
    experts = ExpertSet.load(with_greek)
    lm = xelm.RoutedLM(experts, device="cpu")
    text = "Και το σπίτι"
    assert lm.route([text])[0].language == "ell"
    assert len(lm.generate([text], max_new_tokens=2)) == 1
    assert lm.route(["der Morgen und das Haus"])[0].language == "deu"


def test_the_ledger_says_who_came_from_where_with_what_and_what_it_changed(with_greek: Path, tmp_path: Path) -> None:
    experts = ExpertSet.load(with_greek)
    (line,) = experts.manifest.ledger
    assert line.language == "ell"
    assert line.donor in experts.names
    assert line.bytes == experts.manifest.data["ell"]["bytes"] > 1000
    assert len(line.sha256) == 64
    assert line.sha256 != sha256_of(new_text(tmp_path, "swe"))
    assert line.tokens == TOKENS
    assert [row.name for row in line.candidates] == experts.models[:-1]
    assert set(line.tokenizer.others) == set(OLD)
    losses = {code: (cell.before or 0.0, cell.after) for code, cell in line.bits_per_byte.items()}
    assert set(losses) == {*OLD, "ell"}
    assert losses["ell"][1] < losses["ell"][0], "training on it helps"
    assert all(losses[code][1] == pytest.approx(losses[code][0], rel=0.02) for code in OLD)


def test_the_ledger_keeps_what_experts_forgot_before_and_after(run: Path) -> None:
    before = ExpertSet.load(run).result("test")
    experts = _add(run, "ell", as_="join", donor="rus")
    after, told = experts.result("test"), experts.manifest.ledger[-1].forgetting
    assert before and after and told
    assert (told.before, told.after) == (before.forgetting, after.forgetting)
    joined = experts.plan.cluster_of("ell")
    assert "ell" in told.after[joined].change_percent
    assert told.before[joined] != told.after[joined]


def test_the_ledger_holds_the_router_s_confusion_before_and_after(with_greek: Path) -> None:
    routes = ExpertSet.load(with_greek).manifest.ledger[-1].routes
    assert routes is not None
    before, after = routes.before.confusion, routes.after.confusion
    assert set(before) == set(after)
    assert "ell" in after
    assert "ell" not in before["ell"], "the router did not know it"
    assert after["ell"] == {"ell": sum(after["ell"].values())}
    assert (routes.right["ell"].before, routes.right["ell"].after) == (0.0, 1.0)
    assert {code: after[code] for code in OLD if code in after} == {c: before[c] for c in OLD if c in before}


def test_a_removed_language_leaves_no_trace_and_the_same_addition_gives_the_same_bytes(run: Path) -> None:
    start = contents(run)
    _add(run, "swe")
    first = contents(run)
    assert first != start
    assert remove_language(run, "Swedish").languages == list(OLD)
    assert contents(run) == start
    _add(run, "swe")
    assert contents(run) == {**first, "logs/add-swe.jsonl": contents(run)["logs/add-swe.jsonl"]}  # it holds speeds


@pytest.mark.parametrize("number", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_languages_added_and_removed_in_random_order_leave_no_trace(run: Path, number: int) -> None:
    start, rng, missing, there = contents(run), random.Random(4), sorted(NEW_WORDS)[:number], list[str]()
    old = models_of(run, ExpertSet.load(run).models)
    while missing or there:
        if missing and (not there or rng.random() < 0.65):
            code = missing.pop(rng.randrange(len(missing)))
            experts = _add(run, code, tokens=128)
            there.append(code)
        else:
            experts = remove_language(run, there.pop(rng.randrange(len(there))))
        assert experts.languages == sorted([*OLD, *there])
        assert experts.verify() == []
        assert models_of(run, ExpertSet.load(run).models).items() >= old.items()
    assert contents(run) == start


def test_a_run_verifies_after_the_earlier_of_two_languages_has_left(run: Path) -> None:
    _add(run, "ckm", tokens=128)
    _add(run, "ell", tokens=128)
    # Texts that went to its expert go elsewhere, so the figures of the later addition are no longer today's.
    assert remove_language(run, "ckm").verify() == []


def test_a_language_joins_the_donor_s_expert_and_the_version_before_is_kept(run: Path) -> None:
    start = contents(run)
    before = ExpertSet.load(run)
    expert = before.plan.cluster_of("rus")
    experts = _add(run, "pol", as_="join", donor="rus")
    assert experts.plan.clusters[expert] == [*before.plan.clusters[expert], "pol"]
    assert experts.names == before.names
    assert experts.verify() == []
    weights = f"experts/{expert}/model.safetensors"
    assert sha256_of(run / weights) != start[weights]
    assert sha256_of(run / "previous" / f"{expert}.v1" / "model.safetensors") == start[weights]
    remove_language(run, "pol")
    assert contents(run) == start


def test_two_languages_that_joined_one_expert_leave_in_reverse_order(run: Path) -> None:
    start = contents(run)
    _add(run, "pol", as_="join", donor="rus", tokens=128)
    _add(run, "ckm", as_="join", donor="rus", tokens=128)
    with pytest.raises(BadInput, match=r"pol: ckm joined its expert later; remove that first"):
        remove_language(run, "pol")
    remove_language(run, "ckm")
    remove_language(run, "pol")
    assert contents(run) == start


@pytest.mark.parametrize(("tokens", "steps"), [(512, 16), (4096, 64), (4608, 48), (8192, 64)])
def test_a_small_budget_is_read_in_smaller_steps(run: Path, tokens: int, steps: int) -> None:
    """The recipe's steps have 4 blocks of 32 tokens: 48 of them, or of fewer blocks, at least one block each."""
    experts = _add(run, "swe", donor="base", tokens=tokens)
    expert = experts.plan.cluster_of("swe")
    assert experts.manifest.experts[expert].tokens == experts.manifest.ledger[-1].tokens == tokens
    [log] = (run / "logs").glob("*swe*.jsonl")
    assert json.loads(log.read_text("utf-8").splitlines()[0])["num_steps"] == steps


def test_replay_mixes_in_the_donor_s_own_languages(run: Path) -> None:
    plain = _add(run, "swe", donor="deu", tokens=256)
    weights = sha256_of(plain.folder(plain.plan.cluster_of("swe")) / "model.safetensors")
    remove_language(run, "swe")
    mixed = _add(run, "swe", donor="deu", replay=0.5, tokens=256)
    assert mixed.manifest.ledger[-1].replay == 0.5
    assert sha256_of(mixed.folder(mixed.plan.cluster_of("swe")) / "model.safetensors") != weights


def test_replay_without_the_run_s_tokenised_text_says_so(run: Path) -> None:
    import shutil

    shutil.rmtree(run / "cache")
    with pytest.raises(BadInput, match=r"replay needs the tokenised text of \w{3}, and .* is missing\. Use replay=0"):
        _add(run, "swe", donor="deu", replay=0.5)
    assert ExpertSet.load(run).verify() == []


@pytest.mark.parametrize("donor", ["base", "dense", "rus"])
def test_the_donor_may_be_named(run: Path, donor: str) -> None:
    experts = _add(run, "swe", donor=donor, tokens=128)
    line = experts.manifest.ledger[-1]
    assert line.donor == (experts.plan.cluster_of("rus") if donor == "rus" else donor)
    assert "was asked for" in line.reason


def test_an_expert_that_reads_its_language_worse_than_another_is_told(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    german = new_text(run.parent, "swe", words=WORDS["deu"])
    experts = add_language(run, "swe", german, tokens=64, donor="base", believe_label=True)
    bits = {model: own["swe"].bits_per_byte for model, own in experts.result("test").models.items()}  # type: ignore[union-attr]
    best = min(bits, key=lambda model: bits[model])
    assert best != experts.plan.cluster_of("swe")
    [said] = [record.getMessage() for record in caplog.records if "which was trained on it" in record.getMessage()]
    assert f"{bits[best]:.2f} under {best}" in said
    assert "xelm remove swe" in said
    caplog.clear()
    _add(run, "ell")
    assert "which was trained on it" not in caplog.text


def test_a_failed_addition_leaves_the_run_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xelm.adding.add

    start = _kept(run)

    def fail(*arguments: object, **options: object) -> None:
        raise FloatingPointError("the loss is nan at step 1.")

    for place in ("make_model", "seal"):
        with monkeypatch.context() as patch:
            patch.setattr(xelm.adding.add, place, fail)
            with pytest.raises(FloatingPointError):
                _add(run, "swe")
        assert _kept(run) == start and ExpertSet.load(run).verify() == [], place


def _kept(run: Path) -> dict[str, str]:
    return {name: sha for name, sha in contents(run).items() if name.split("/")[0] not in ("cache", "logs", "work")}


@pytest.mark.parametrize(
    "place",
    [
        "training.saving.writer.save_checkpoint",
        "adding.add.put_model",
        "evaluation.learned.evaluate",
        "run.transaction._prepare",
    ],
)
def test_an_interrupted_addition_leaves_the_run_whole_and_the_same_command_completes_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    start = _kept(run)

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"xelm.{place}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _add(run, "swe")
    assert _kept(run) == start
    assert ExpertSet.load(run).verify() == []
    assert _add(run, "swe").verify() == []
    assert not (run / "work").exists()


def test_an_addition_interrupted_while_files_are_moved_is_whole_to_readers_and_completed_by_the_next_writer(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xelm.run.transaction

    moved, put = [], xelm.run.transaction._put

    def interrupt(run: Path, part: str) -> None:
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(part)
        put(run, part)

    with monkeypatch.context() as patch:
        patch.setattr(xelm.run.transaction, "_put", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _add(run, "swe")
    before = contents(run)
    experts = ExpertSet.load(run)
    assert experts.languages == [*OLD, "swe"]
    assert experts.verify() == []
    assert contents(run) == before, "a reader writes nothing"
    remove_language(run, "swe")
    assert ExpertSet.load(run).languages == list(OLD) and not (run / "next").exists()
    routes = experts.manifest.ledger[-1].routes
    assert routes is not None and routes.right
