"""`[expert] vocabulary`: experts in training that read pieces of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xelm
from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, new_text
from tests.xelm.conftest import WORDS
from xelm.launch.options import Launch
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.vocabulary.own import read_vocabulary

MakeRecipe = Callable[..., Recipe]
RUSSIAN = "И не это дом. Вода утро"
OWN: dict[str, Any] = {"expert": {"vocabulary": "auto"}}
LORA: dict[str, Any] = {"expert": {"kind": "lora", "rank": 2, "vocabulary": 30, "replay": 0.2}}


@pytest.fixture(scope="module")
def make(corpus: Path) -> MakeRecipe:
    """The tiny recipe on the shared corpus."""
    from tests.xelm.conftest import tiny_table

    def recipe(**sections: dict[str, Any]) -> Recipe:
        return Recipe.from_dict(tiny_table(**({"data": {"path": str(corpus)}} | sections)))

    return recipe


@pytest.fixture(scope="module")
def plain(make: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> ExpertSet:
    """The run without own pieces."""
    return xelm.train(make(), out=tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def trained(make: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> ExpertSet:
    """The run whose Russian expert gets pieces, since its words take more bytes than the others'."""
    return xelm.train(make(**OWN), out=tmp_path_factory.mktemp("own") / "run")


@pytest.fixture(scope="module")
def lora(make: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> ExpertSet:
    """A run of adapters that all have pieces of their own, and read some of the others' text."""
    return xelm.train(make(**LORA), out=tmp_path_factory.mktemp("lora") / "run")


def _names(experts: ExpertSet) -> tuple[str, str]:
    """The expert of Russian and the other one."""
    own = experts.plan.cluster_of("rus")
    return own, next(name for name in experts.names if name != own)


def test_only_the_cluster_whose_words_are_dear_gets_pieces(plain: ExpertSet, trained: ExpertSet) -> None:
    own, other = _names(trained)
    record = read_vocabulary(trained.folder(own))
    assert record is not None
    assert record.aim is not None
    rates = record.tokens_a_word
    assert rates["0"] > record.aim
    assert rates[str(record.new_pieces)] < rates["0"] / 2
    assert {"before", "mean", "mean+frequency", "random"} < set(record.bits_per_byte)
    assert trained.vocabulary(own) == record.fingerprint
    assert trained.vocabulary(other) is None
    assert trained.verify() == []
    before, after = contents(plain.path), contents(trained.path)
    for folder in ("base", "dense", f"experts/{other}"):
        files = {name: digest for name, digest in before.items() if name.startswith(f"{folder}/")}
        assert files
        assert files == {name: digest for name, digest in after.items() if name.startswith(f"{folder}/")}
    assert len(trained.load_model(own).get_input_embeddings().weight) == len(trained.tokenizer(own))
    entry, dense = trained.manifest.experts[own], trained.manifest.dense
    assert dense is not None
    assert entry.tokens == plain.manifest.experts[own].tokens
    assert (entry.epochs or {})["rus"] > 1.5 * (dense.epochs or {})["rus"]


def test_text_in_own_pieces_comes_back_and_is_short(trained: ExpertSet) -> None:
    own, _ = _names(trained)
    tokenizer, runs = trained.tokenizer(own), trained.tokenizer()
    ids = tokenizer(RUSSIAN, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == RUSSIAN
    assert len(ids) < len(runs(RUSSIAN, add_special_tokens=False)["input_ids"]) / 2
    for text in WORDS["deu"].split():
        assert tokenizer(text)["input_ids"] == runs(text)["input_ids"]


def test_a_run_of_several_vocabularies_is_evaluated_answers_and_is_reported(trained: ExpertSet) -> None:
    own, _ = _names(trained)
    result = trained.result("test")
    assert result is not None
    assert set(result.models[own]) == set(WORDS)
    for policy in ("top1", "ensemble", "bayes"):  # mixed byte by byte where experts read different pieces
        assert set(result.routed[policy]) == set(WORDS)
        assert set(result.routed_by_text[policy]) == set(WORDS)
        assert all(0 < bits < 16 for bits in result.bits(policy).values())
    lm = xelm.RoutedLM(trained, device="cpu", languages="run")
    assert len(lm.generate([RUSSIAN, "der Morgen"], "top1", max_new_tokens=3)) == 2
    texts = ["И не это", "der 1"]
    for policy in ("top1", "ensemble", "bayes"):
        assert all(0 < score.bits_per_byte < 16 for score in lm.score(texts, policy))
    assert np.allclose(lm.next_bytes(texts, "bayes").sum(axis=1), 1, atol=1e-6)
    page = trained.files.report.read_text(encoding="utf-8")
    assert "own pieces" in page
    assert "pieces of its own" in page


def test_an_evaluation_that_would_take_too_long_byte_by_byte_leaves_the_policy_out_and_says_so(
    trained: ExpertSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import xelm.evaluation.routed as routed
    from xelm.evaluation.evaluate import evaluate_on

    monkeypatch.setattr(routed, "_MOST_READ", 0)
    with caplog.at_level("WARNING"):
        result = evaluate_on(trained, None)
    assert set(result.routed) == {"top1", "ensemble"}  # which weighs no two experts of different pieces here
    assert result.routing == "prefix"
    assert "bayes: not evaluated: experts of different pieces answer together" in caplog.text


def test_masked_experts_read_their_own_pieces_too(tmp_path: Path) -> None:
    from tests.xelm.adding import train_masked

    run = train_masked(tmp_path)
    experts = xelm.add_language(run, "ell", new_text(tmp_path, "ell"), tokens=256, vocabulary=20, donor="base")
    result = experts.result("test")
    assert result is not None
    assert "ell" in result.routed["top1"]
    assert experts.verify() == []


def test_a_finished_run_is_left_alone_and_an_interrupted_one_ends_alike(
    make: MakeRecipe, lora: ExpertSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xelm.training.loop as loop

    before = contents(lora.path)
    xelm.train(make(**LORA), out=lora.path)
    assert contents(lora.path) == before
    real = loop._Training._take_step
    for limit in (14, 3, 2):  # in the first expert before a checkpoint, after it, and later
        steps = iter(range(1000))

        def stop(*args: Any, limit: int = limit, steps: Any = steps) -> Any:
            if next(steps) >= limit:
                raise KeyboardInterrupt
            return real(*args)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(loop._Training, "_take_step", stop)
            xelm.train(make(**LORA), out=tmp_path / "run")
    xelm.train(make(**LORA), out=tmp_path / "run")
    theirs = contents(tmp_path / "run")
    assert {n: d for n, d in theirs.items() if not n.startswith("logs/")} == {
        name: digest for name, digest in before.items() if not name.startswith("logs/")
    }


@pytest.mark.slow
def test_workers_make_the_same_models(make: MakeRecipe, trained: ExpertSet, tmp_path: Path) -> None:
    xelm.train(make(**OWN), out=tmp_path / "run", launch=Launch(workers=2))
    ours, theirs = contents(trained.path), contents(tmp_path / "run")
    kept = [name for name in ours if name.startswith(("base/", "dense/", "experts/"))]
    assert {name: theirs.get(name) for name in kept} == {name: ours[name] for name in kept}


def test_adapters_bring_their_rows_and_the_others_text(lora: ExpertSet, tmp_path: Path) -> None:
    base = lora.load_model("base").get_input_embeddings().weight
    for name in lora.names:
        assert lora.manifest.experts[name].kind == "lora"
        record = read_vocabulary(lora.folder(name))
        assert record is not None
        assert (record.new_pieces, record.aim) == (30, None)
        rows = lora.load_model(name).merge_and_unload().get_input_embeddings().weight
        assert (rows[: len(base)] == base).all()
        assert len(rows) == len(base) + 30
        assert set(lora.manifest.experts[name].blocks or {}) == set(WORDS)
    assert lora.manifest.dense is not None
    assert lora.manifest.dense.vocabulary is None
    xelm.export(lora.path, lora.names[0], tmp_path / "plain")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    ids = tokenizer("der Morgen", return_tensors="pt", return_token_type_ids=False)
    lm = xelm.RoutedLM(lora, device="cpu")
    answer = model.generate(**ids, max_new_tokens=4, do_sample=False)[0, ids["input_ids"].shape[1] :]
    [expected] = lm.generate(["der Morgen"], lora.names[0], max_new_tokens=4)
    assert tokenizer.decode(answer, skip_special_tokens=True) == expected


def test_blending_tells_what_an_expert_read_by_its_own_pieces(trained: ExpertSet, tmp_path: Path) -> None:
    from xelm.blending.unread import find_unread

    run = copy_of(trained.path, tmp_path)
    own, other = _names(trained)
    runs, letters = find_unread(trained, other).unread, find_unread(trained, own).unread
    shared = {index for piece, index in trained.tokenizer().get_vocab().items() if piece in "dehsz"}
    assert not runs & shared
    assert shared <= letters
    blended = xelm.blend(run, keep=0.5)
    assert blended.verify() == []
    after = blended.load_model(own).get_input_embeddings().weight
    before = trained.load_model(own).get_input_embeddings().weight
    first = len(trained.tokenizer())
    assert (after[first:] == before[first:]).all()


def test_a_language_is_added_beside_experts_with_their_own_pieces(trained: ExpertSet, tmp_path: Path) -> None:
    run = copy_of(trained.path, tmp_path)
    own, _ = _names(trained)
    experts = xelm.add_language(run, "ell", new_text(tmp_path, "ell"), tokens=256, vocabulary=20, donor=own)
    name = experts.plan.cluster_of("ell")
    assert len(experts.tokenizer(name)) == len(experts.tokenizer(own)) + 20
    assert experts.verify() == []
    xelm.remove_language(run, "ell")
    ours, first = contents(run), contents(trained.path)
    aside = ("cache/", "logs/")
    assert {n: d for n, d in ours.items() if not n.startswith(aside)} == {
        n: d for n, d in first.items() if not n.startswith(aside)
    }


def test_a_dry_run_learns_the_pieces_and_trains_nothing(make: MakeRecipe, tmp_path: Path) -> None:
    from xelm.making.train import dry_run

    plan, budget = dry_run(make(**OWN), tmp_path / "run")
    own = plan.cluster_of("rus")
    assert list(budget.own_pieces) == [own]
    assert f"{own} {budget.own_pieces[own]:,}" in budget.to_text()
    assert sum(stage.tokens for stage in budget.experts.values()) == budget.dense.tokens  # type: ignore[union-attr]
    assert not (tmp_path / "run" / "base").exists()
    measured = dry_run(make(expert={"vocabulary": 20}, train={"dense": False}), tmp_path / "run", probe=True)[1]
    assert measured.speed is not None


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ({"vocabulary": 0}, "from 1 up"),
        ({"vocabulary": "many"}, "expected int or 'auto'"),
        ({"vocabulary": True}, "expected int or 'auto'"),
        ({"vocabulary": 5, "kind": "layers", "layers": [0]}, "no embedding of their own"),
        ({"vocabulary": 5, "freeze": ["embedding"]}, "the embedding"),
        ({"vocabulary": 5, "freeze": "auto:1"}, "the embedding"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_when_the_recipe_is_read(
    make: MakeRecipe, expert: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        make(expert=expert)


def test_what_cannot_be_done_is_refused_before_anything_is_trained(make: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Leave one of the two out"):
        xelm.train(make(expert={"vocabulary": 5, "freeze": ["*embed*"]}), out=tmp_path / "frozen")
    with pytest.raises(BadInput, match="Leave it out to compare plans"):
        xelm.compare_plans(make(**OWN), ["typological"], 1, tmp_path / "compared")
    assert not (tmp_path / "frozen" / "base").exists()
