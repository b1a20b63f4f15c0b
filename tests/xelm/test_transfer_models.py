"""Transfers on models: frozen features, adapters and full training, experts of a run, tagging, projection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xelm
from tests.router.tiny import save_byte_model
from tests.xelm.conftest import sentences, write_jsonl
from tests.xelm.made_runs import make_run
from tests.xelm.transfers import recipe_of, write_task
from xelm import BadInput
from xelm.transferring.aligners import align_by_command, parsed
from xelm.transferring.experiment import Experiment
from xelm.transferring.features.hidden import joined_words, words_of_pieces
from xelm.transferring.recipe import TransferRecipe


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained decoder of two layers that reads bytes."""
    return save_byte_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"), number=60, languages=("deu", "nld"))


def _on(model: Path, folder: Path, /, **sections: Any) -> dict[str, Any]:
    base = {"model": str(model), "max_length": 64, "device": "cpu", **sections.pop("base", {})}
    recipe = recipe_of(folder, sources={"languages": ["deu"]}, **sections)
    return {**recipe, "base": base}


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
@pytest.mark.parametrize("layer", [None, 1, -1])
def test_frozen_features_are_those_of_a_bare_loop(
    model: Path, task: Path, tmp_path: Path, pool: str, layer: int | None
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    base = {"pool": pool, **({} if layer is None else {"layer": layer})}
    experiment = Experiment(TransferRecipe.from_dict(_on(model, task, base=base)), tmp_path)
    rows = experiment.rowset.test("nld")
    found = experiment.store("model").take(rows)
    bare, tokenizer = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    for row, vector in zip(rows, found, strict=True):
        with torch.no_grad():
            given = bare(**tokenizer(row.text, return_tensors="pt"), output_hidden_states=True)
        states = given.last_hidden_state[0] if layer is None else given.hidden_states[layer][0]
        wanted = {"mean": states.mean(0), "first": states[0], "last": states[-1]}[pool]
        assert np.allclose(vector, wanted.numpy(), atol=1e-4)


def test_word_vectors_are_means_of_their_pieces(model: Path, task: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    recipe = _on(model, task, task={"kind": "tagging", "label": "tags"})
    experiment = Experiment(TransferRecipe.from_dict(recipe), tmp_path)
    row = experiment.rowset.test("nld")[0]
    found = experiment.store("model").take([row])
    bare, tokenizer = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    with torch.no_grad():
        states = bare(**tokenizer(" ".join(row.tokens or ()), return_tensors="pt")).last_hidden_state[0].numpy()
    begin = 0
    for vector, word in zip(found, row.tokens or (), strict=True):
        assert np.allclose(vector, states[begin : begin + len(word)].mean(0), atol=1e-4)
        begin += len(word) + 1


def test_pieces_that_hold_the_space_before_a_word_belong_to_it() -> None:
    text, spans = joined_words(["ab", "c", "def"], prefix="q: ")
    assert (text, spans) == ("q: ab c def", [(3, 5), (6, 7), (8, 11)])
    pieces = [(0, 0), (0, 2), (2, 4), (4, 5), (5, 7), (7, 11), (0, 0)]
    assert words_of_pieces(pieces, spans) == [-1, -1, 0, 0, 1, 2, -1]


def test_each_language_is_encoded_once(
    model: Path, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xelm.transferring.features.hidden import HiddenEncoder

    read: list[int] = []
    whole = HiddenEncoder.texts
    monkeypatch.setattr(HiddenEncoder, "texts", lambda self, texts: (read.append(len(texts)), whole(self, texts))[1])
    recipe = _on(model, task, base={"center": True}, train={"shots": [0, 4], "seeds": 2})
    report = xelm.transfer(recipe, tmp_path / "out")
    assert sorted(read) == [18, 18, 42, 42]  # train and test of two languages
    assert {row["technique"] for row in report.table} == {"plain", "center"}
    xelm.transfer({**recipe, "train": {"shots": [0, 4, 8]}}, tmp_path / "out")
    assert len(read) == 4
    xelm.transfer({**recipe, "augment": [{"kind": "pseudo-label"}]}, tmp_path / "out")
    assert len(read) == 4  # labels of the head's own are put on texts that are known


def test_centred_vectors_have_no_mean_of_their_language(model: Path, task: Path, tmp_path: Path) -> None:
    from xelm.transferring.features.steps import Centre

    experiment = Experiment(TransferRecipe.from_dict(_on(model, task)), tmp_path)
    store = experiment.store("model")
    rows = experiment.rowset.train("deu") + experiment.rowset.train("nld")
    changed = Centre().apply(store.take(rows), rows, store)
    half = len(rows) // 2
    assert np.allclose(changed[:half].mean(0), 0, atol=1e-5) and np.allclose(changed[half:].mean(0), 0, atol=1e-5)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_model_that_is_trained_learns_the_task_and_twice_the_same(
    model: Path, task: Path, tmp_path: Path, adapter: str
) -> None:
    train = {"adapter": adapter, "epochs": 20, "learning_rate": 5e-3, "rank": 8}
    recipe = _on(model, task, train=train, evaluate={"targets": ["nld"]})
    report = xelm.transfer(recipe, tmp_path / "one")
    [row] = [row for row in report.rows if row.transfer]
    assert row.transfer[0].gap is not None  # the source at home was measured too
    home = row.transfer[0].gap + row.transfer[0].accuracy.value
    assert home > 0.7
    again = xelm.transfer(recipe, tmp_path / "two")
    assert again.to_json() == report.to_json()
    one = sorted(file.read_bytes() for file in (tmp_path / "one" / "answers").rglob("*.safetensors"))
    assert one == sorted(file.read_bytes() for file in (tmp_path / "two" / "answers").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("adapter", "base", "least"), [("head", {"layer": 0}, 0.85), ("lora", {}, 0.65), ("full", {}, 0.65)]
)
def test_words_are_tagged_by_every_way_to_learn(
    model: Path, task: Path, tmp_path: Path, adapter: str, base: dict[str, Any], least: float
) -> None:
    train = {"adapter": adapter, "epochs": 12, "learning_rate": 5e-3, "strength": 1.0}
    report = xelm.transfer(
        _on(model, task, task={"kind": "tagging"}, base=base, train=train, evaluate={"targets": ["nld"]}),
        tmp_path / "out",
    )
    [home] = [cell for row in report.rows for cell in row.cells if row.sources == "deu" and cell.target == "deu"]
    assert home.accuracy.value > least  # the most frequent tag has 0.57
    assert report.unit == "word" and home.num_units == 7 * home.num_rows


def test_spans_are_judged_whole(tmp_path: Path) -> None:
    from xelm.transferring.tasks.tagging import span_f1

    assert span_f1([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]]) == 0
    assert span_f1([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "O", "O"]]) == pytest.approx(2 / 3)


def test_conllu_is_read_with_labels_of_any_column(tmp_path: Path) -> None:
    lines = ["# sent_id = s1", "# text = Das Haus"]
    lines += ["1-2\tDasHaus\t_\t_\t_\t_\t_\t_\t_\t_", "1\tDas\tder\tDET\tART\t_\t2\tdet\t_\t_"]
    lines += ["1.1\tx\t_\t_\t_\t_\t_\t_\t_\t_", "2\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_", ""]
    for split in ("train", "test"):
        text = "\n".join(lines).replace("s1", split).replace("Das", f"Das{split}")
        file = tmp_path / "task" / "deu" / f"de_x-ud-{split}.conllu"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    for label, wanted in ((None, ("DET", "NOUN")), ("xpos", ("ART", "NN")), ("deprel", ("det", "root"))):
        settings = {"kind": "tagging", **({"label": label} if label else {})}
        recipe = recipe_of(tmp_path / "task", task=settings)
        experiment = Experiment(
            TransferRecipe.from_dict({**recipe, "sources": {"languages": ["deu"]}}), tmp_path / "out"
        )
        [row] = experiment.rowset.train("deu")
        assert (row.tokens, row.tags, row.id) == (("Dastrain", "Haus"), wanted, "train")
    (tmp_path / "task" / "deu" / "bad-test.conllu").write_text("1\tDas\n\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"bad-test.conllu, sentence before line 2: 2 column"):
        Experiment(TransferRecipe.from_dict(recipe), tmp_path / "out")


def test_labels_are_projected_through_links_and_unlinked_words_are_not_learnt(task: Path, tmp_path: Path) -> None:
    def align(sources: Any, targets: Any) -> list[set[tuple[int, int]]]:
        return [{(place, place) for place in range(0, len(words), 2)} for words in sources]

    folder = write_task(tmp_path / "task", languages=("eng", "spa"))
    augment = [{"kind": "project", "align": align}]
    recipe = recipe_of(folder, task={"kind": "tagging"}, augment=augment, sources={"languages": ["eng"]})
    report = xelm.transfer(recipe, tmp_path / "out")
    [plain] = [row for row in report.rows if row.technique == "plain" and row.sources == "eng" and row.transfer]
    [projected] = [row for row in report.rows if row.technique == "project"]
    assert plain.mean is not None and projected.mean is not None
    assert projected.mean.value > 0.9 > plain.mean.value
    share = 4 / 7  # words 0, 2, 4, 6 of seven
    assert f"project, eng to spa: {share:.3f} of the words labelled, 1.000 of them rightly" in report.notes[0]
    ids = [row.id for row in Experiment(TransferRecipe.from_dict(recipe), tmp_path).rowset.train("spa")]
    assert projected.cells[0].num_taught == 2 * len(ids)  # the English rows, and only training sentences


def test_links_that_lead_nowhere_are_refused() -> None:
    assert parsed(["0-1 1-0"], [["a", "b"]], [["c", "d"]], "x") == [{(0, 1), (1, 0)}]
    with pytest.raises(BadInput, match="'0-2' is no link"):
        parsed(["0-2"], [["a", "b"]], [["c", "d"]], "x")
    with pytest.raises(BadInput, match="0 lines of links came back for 1"):
        align_by_command("true", [["a"]], [["b"]])
    assert align_by_command("sed 's/.*/0-0/'", [["A b"], ["c"]], [["d"], ["e"]]) == [{(0, 0)}, {(0, 0)}]


# On a run


def _run_task(folder: Path) -> Path:
    """Sentences of the run's languages, whose class is whether a word is in them."""
    marks = {"deu": "haus", "nld": "huis", "rus": "дом"}
    for code, mark in marks.items():
        texts = sentences(code, 90, seed=3)
        rows = [
            {"id": n, "text": text, "label": str(mark in text.lower()), "split": "test" if n % 3 == 0 else "train"}
            for n, text in enumerate(texts)
        ]
        write_jsonl(folder / f"{code}.jsonl", rows)
    return folder


def _on_run(folder: Path, kind: str, **sections: Any) -> dict[str, Any]:
    run = make_run(folder, kind)
    base = {"run": str(run), "device": "cpu", **sections.pop("base", {})}
    recipe = recipe_of(_run_task(folder / "task"), sources={"languages": ["deu"]}, **sections)
    return {**recipe, "base": base, "task": {**recipe["task"], "parallel": False}}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_task_sits_on_any_expert_of_a_run(run_folder: Path, tmp_path: Path, kind: str) -> None:
    policies = ["base", "source", "top1", "madx", "ensemble", "russian"]
    recipe = _on_run(run_folder, kind, base={"policy": policies}, evaluate={"targets": ["nld", "rus"]})
    report = xelm.transfer(recipe, tmp_path / "out")
    assert [row["model"] for row in report.table if row["sources"] == "deu"] == policies
    experiment = Experiment(TransferRecipe.from_dict(recipe), tmp_path / "out")
    used = {
        cell.policy: [(set(p.lesson.readers), set(p.lesson.answerers.values())) for p in experiment.parts(cell)]
        for cell in experiment.cells
        if cell.target == "rus" and cell.sources == "deu"
    }
    assert used["base"] == [({"base"}, {"base"})]
    assert used["source"] == [({"german"}, {"german"})]
    assert used["top1"] == [({"russian"}, {"russian"})]
    assert used["madx"] == [({"german"}, {"russian"})]
    assert {("russian",) for _ in used["ensemble"]} <= {tuple(readers) for readers, _ in used["ensemble"]}


def test_the_ensemble_sums_the_experts_answers_by_the_routers_weights(run_folder: Path, tmp_path: Path) -> None:
    recipe = _on_run(run_folder, "full", base={"policy": ["ensemble", "german", "dutch", "russian", "base"]})
    xelm.transfer(recipe, tmp_path / "out")
    experiment = Experiment(TransferRecipe.from_dict(recipe), tmp_path / "out")
    cells = {c.policy: c for c in experiment.cells if c.target == "nld" and c.sources == "deu"}
    mixed = experiment.answers(cells["ensemble"], experiment.parts(cells["ensemble"]))
    lm = xelm.RoutedLM.from_pretrained(recipe["base"]["run"])
    weights = lm.weights([row.text for row in experiment.rowset.test("nld")], "ensemble")
    wanted = np.zeros_like(mixed)
    for name, own in zip(lm.names, weights.T, strict=True):
        wanted += own[:, None] * experiment.answers(cells[name], experiment.parts(cells[name]))
    assert np.allclose(mixed, wanted, atol=2e-3)


def test_an_adapter_of_one_expert_answers_on_another(run_folder: Path, tmp_path: Path) -> None:
    train = {"adapter": "lora", "epochs": 2}
    evaluate = {"targets": ["nld"]}
    recipe = _on_run(run_folder, "lora", base={"policy": ["source", "madx"]}, train=train, evaluate=evaluate)
    xelm.transfer(recipe, tmp_path / "out")
    experiment = Experiment(TransferRecipe.from_dict(recipe), tmp_path / "out")
    found = {
        c.policy: experiment.answers(c, experiment.parts(c))
        for c in experiment.cells
        if c.target == "nld" and c.sources == "deu"
    }
    assert not np.allclose(found["source"], found["madx"], atol=1e-3)
    head = experiment._head("lora")
    cell = next(c for c in experiment.cells if c.policy == "source" and c.target == "nld")
    [part] = experiment.parts(cell)
    import torch

    torch.manual_seed(0)
    network, batches = head._network(*experiment.load("german"), part.lesson, experiment)  # type: ignore[attr-defined]
    moved = head._moved(network, "german", part.lesson, experiment)  # type: ignore[attr-defined]
    rows = experiment.rowset.test("nld")[:5]
    network.eval(), moved.eval()
    with torch.no_grad():
        assert torch.allclose(network(*batches.of(rows)), moved(*batches.of(rows)), atol=1e-5)


def test_full_weights_cannot_be_moved_and_several_experts_cannot_be_trained_at_once(
    run_folder: Path, tmp_path: Path
) -> None:
    train = {"adapter": "full", "epochs": 1}
    recipe = _on_run(run_folder, "full", base={"policy": ["base", "madx"]}, train=train)
    recipe = {**recipe, "evaluate": {"targets": ["nld"], "replicates": 50}}
    report = xelm.transfer(recipe, tmp_path / "out")
    assert [row["model"] for row in report.table] == ["base"]
    assert any("another expert cannot answer" in item["reason"] for item in report.skipped)
    several = {
        **_on_run(run_folder, "full", base={"policy": ["base", "source"]}),
        "sources": {"languages": ["deu", "nld"]},
    }
    report = xelm.transfer(several, tmp_path / "several")
    assert any("have several experts: dutch, german" in item["reason"] for item in report.skipped)


def test_an_unknown_policy_names_the_experts(run_folder: Path, tmp_path: Path) -> None:
    recipe = _on_run(run_folder, "full", base={"policy": "french"})
    with pytest.raises(BadInput, match=r"Choose among base, source, .*german, dutch, russian"):
        xelm.transfer(recipe, tmp_path / "out")
    with pytest.raises(BadInput, match="no such run"):
        xelm.transfer({**recipe, "base": {"run": str(tmp_path / "nowhere")}}, tmp_path / "out")


def test_a_model_that_is_not_there_is_told(task: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        xelm.transfer(_on(tmp_path / "nowhere", task), tmp_path / "out")


def test_the_report_of_a_model_names_it(model: Path, task: Path, tmp_path: Path) -> None:
    report = xelm.transfer(_on(model, task), tmp_path / "out")
    assert json.loads(report.to_json())["base"] == str(model)
