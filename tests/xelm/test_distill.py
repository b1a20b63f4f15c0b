"""A student of all experts: the loss against plain loops, the teacher's weights, interruptions, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xelm
from clustering.files import sha256_of
from tests.xelm.adding import contents, train_masked, train_tiny
from tests.xelm.conftest import make_corpus, write_jsonl
from tests.xelm.seq2seq import gap_tokenizer
from xelm import BadInput, ExpertSet
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_order
from xelm.corpus.mixture import mixture
from xelm.corpus.store import open_store
from xelm.distilling.lessons import StudentBatches, Teaching
from xelm.distilling.measure import average
from xelm.distilling.teacher import Teacher


@pytest.fixture(scope="module", params=["full", "lora"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    expert = {"kind": request.param} | ({"rank": 2} if request.param == "lora" else {})
    train: dict[str, object] = {"tokens": 4096, "learning_rate": 2e-2}
    return train_tiny(tmp_path_factory.mktemp(request.param), expert=expert, train=train)


full_only = pytest.mark.parametrize("run", ["full"], indirect=True)


def test_the_loss_is_that_of_plain_loops(run: Path) -> None:
    import torch

    experts = ExpertSet.load(run)
    teacher = Teacher(experts, "ensemble")
    stores = {
        code: open_store(experts.files.cached(experts.manifest.data[code]["cache"]), code) for code in ("deu", "rus")
    }
    blocks = {code: Blocks(store, 32) for code, store in stores.items()}
    order = draw_order({c: len(b) for c, b in blocks.items()}, {"deu": 0.5, "rus": 0.5}, 4, seed=0, name="x")
    inner = experts.objective.batches(experts.tokenizer(), xelm.Recipe.from_dict(experts.manifest.recipe).train, "x")
    teaching = Teaching(temperature=2.0, mix=0.3)
    batches = StudentBatches(inner, teacher, blocks, order, teaching)
    draws = np.arange(4)
    taken = [blocks[order.languages[order.language[d]]].take(order.block[d : d + 1]) for d in draws]
    ids, positions = (np.concatenate([one[part] for one in taken]) for part in (0, 1))
    student = experts.load_model("dense")
    with torch.no_grad():
        found = float(
            batches.batch(ids, positions, draws, 0.0).summed_loss(student, isolated=True, device=torch.device("cpu"))
        )
    models = {name: experts.load_model(name) for name in teacher.names}
    lm = xelm.RoutedLM.from_pretrained(run)
    wanted = 0.0
    for d in draws:
        code = order.languages[order.language[d]]
        store = stores[code]
        for t in range(31):
            place, after = (int(order.block[d]) * 32 + t + n for n in (0, 1))
            place, after = place % len(store.tokens), after % len(store.tokens)
            if positions[d][t + 1] == 0:
                continue  # the next token begins another document
            document = int(np.searchsorted(store.starts, place, side="right") - 1)
            ends = [*store.starts[1:].tolist(), len(store.tokens)]
            text = lm.tokenizer.decode(store.tokens[store.starts[document] : ends[document]], skip_special_tokens=True)
            weights = lm.weights([str(text)], "ensemble")[0]
            context = ids[d][t - int(positions[d][t]) : t + 1]
            mixed = sum(w * _probs(models[n], context) for n, w in zip(teacher.names, weights, strict=True) if w > 1e-3)
            mixed = mixed / sum(w for w in weights if w > 1e-3)
            ours = np.log(_probs(student, context))
            soft = [np.asarray(p) ** 0.5 / np.sum(np.asarray(p) ** 0.5) for p in (mixed, np.exp(ours))]
            wanted += 0.3 * 4 * np.sum(soft[0] * np.log(soft[0] / soft[1])) - 0.7 * ours[store.tokens[after]]
    assert found == pytest.approx(wanted, rel=1e-4)


def _probs(model: Any, context: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(context)[None]).logits[0, -1].double()
    return torch.softmax(logits, -1).numpy()


def test_a_student_is_a_plain_checkpoint_beside_the_others(run: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = contents(run)
    found = xelm.distill(run, tmp_path / "student", tokens=2048)
    assert contents(run) == before
    assert [row["model"] for row in found.table] == ["student", "dense", "experts", "base", "average"]
    experts = ExpertSet.load(run)
    result = experts.result("test")
    assert result is not None
    for name in ("dense", "base"):
        assert found.bits_per_byte[name] == pytest.approx(result.bits(name))
    assert found.bits_per_byte["experts"] == result.bits("top1")
    student, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "student"),
        AutoTokenizer.from_pretrained(run / "base"),
    )
    documents = experts.heldout("test", ["deu"])
    from xelm.evaluation.log_probs import measure

    nats = -sum(float(p.sum()) for p in measure(experts, student, documents))
    bits = nats / np.log(2) / sum(len(document.text.encode()) for document in documents)
    assert found.bits_per_byte["student"]["deu"] == pytest.approx(bits, rel=1e-6) and tokenizer is not None
    change, low, high = found.compared["dense"]
    mean = np.mean([found.bits_per_byte["student"][c] / found.bits_per_byte["dense"][c] - 1 for c in experts.languages])
    assert change == pytest.approx(100 * mean) and low <= change <= high
    assert found.compared["base"][0] < 0 and not (tmp_path / "student.work").exists()
    texts = [file.read_text() for file in (tmp_path / "student").glob("*.json")]
    assert not any(str(tmp_path) in text or str(run) in text for text in texts)
    assert xelm.distill(run, tmp_path / "student", tokens=2048).to_json() == found.to_json()
    with pytest.raises(BadInput, match="not written by the same command"):
        xelm.distill(run, tmp_path / "student", tokens=1024)


def test_the_average_is_that_of_all_experts(run: Path) -> None:
    experts = ExpertSet.load(run)
    models = [experts.load_model(name) for name in experts.names]
    whole = [m.merge_and_unload() if hasattr(m, "peft_config") else m for m in models]  # type: ignore[operator]
    mean = average(experts)
    assert mean is not None
    for name, tensor in mean.named_parameters():
        wanted = sum(dict(m.named_parameters())[name].detach().numpy() for m in whole) / len(whole)
        assert np.allclose(tensor.detach().numpy(), wanted, atol=1e-6)


class _Killed(BaseException):
    """Stands for a signal."""


@full_only
def test_an_interrupted_student_ends_as_the_undisturbed_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xelm.training.checkpoint import save_checkpoint as whole

    def save(folder: Path, state: Any) -> None:
        whole(folder, state)
        if state.progress["step"] >= 4:
            raise _Killed

    options: dict[str, Any] = {"tokens": 1024, "to": "dense", "seed": 3}
    one = xelm.distill(run, tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr("xelm.training.saving.writer.save_checkpoint", save)
        xelm.distill(run, tmp_path / "cut", **options)
    assert not (tmp_path / "cut").exists()
    two = xelm.distill(run, tmp_path / "cut", **options)
    weights = [sha256_of(tmp_path / name / "model.safetensors") for name in ("whole", "cut")]
    assert weights[0] == weights[1] and two.bits_per_byte == one.bits_per_byte
    other = xelm.distill(run, tmp_path / "other", **{**options, "seed": 4})
    assert sha256_of(tmp_path / "other" / "model.safetensors") != weights[0] and other.tokens == one.tokens


@full_only
def test_a_student_without_a_teacher_is_trained_as_a_stage_of_the_run_is(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from xelm.making.budgets.steps import StageBudget
    from xelm.parts import train_stage

    xelm.distill(run, tmp_path / "student", tokens=1024, mix=0.0)
    experts = ExpertSet.load(run)
    settings = xelm.Recipe.from_dict(experts.manifest.recipe).train
    stores = {
        code: open_store(experts.files.cached(experts.manifest.data[code]["cache"]), code) for code in experts.languages
    }
    blocks = {code: Blocks(store, 32) for code, store in stores.items()}
    counts = {code: len(own) for code, own in blocks.items()}
    size = {"batch_size": 4, "sequence_length": 32}
    budget = StageBudget.of("student", 8, mixture(counts, settings, 32), counts, **size)
    inner = experts.objective.batches(experts.tokenizer(), settings, "student")
    model = experts.load_model("base", trainable=True)
    train_stage(model, budget.stage(blocks, settings, tmp_path / "work", batches=inner), lambda point: None)
    written = load_file(tmp_path / "student" / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert np.allclose(written[name].numpy(), parameter.detach().numpy(), atol=1e-6)


def test_a_run_of_masked_models_teaches_and_is_aligned(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    run = train_masked(tmp_path)
    found = xelm.distill(run, tmp_path / "student", tokens=512, to="dense")
    assert found.compared["base"][0] < 0 and set(found.bits_per_byte["student"]) == {"deu", "rus"}
    AutoModelForMaskedLM.from_pretrained(tmp_path / "student")
    rows = [{"text": f"das ist {n} {n * 7}", "eng": f"this is {n} {n * 7}"} for n in range(60)]
    write_jsonl(tmp_path / "pairs" / "deu.jsonl", rows)
    name = ExpertSet.load(run).plan.cluster_of("deu")
    aligned = xelm.align(run, tmp_path / "pairs", train=True, epochs=1, device="cpu")  # longer than its 40 positions
    assert aligned.training["expert"] == name and ExpertSet.load(run).verify() == []


def test_models_that_fill_gaps_cannot_teach_token_by_token() -> None:
    from xelm.distilling.lessons import token_batch
    from xelm.objectives.objective import OBJECTIVES
    from xelm.recipe.recipe import Train

    batches = OBJECTIVES.find("denoise").batches(gap_tokenizer(), Train(tokens=1), "x")
    with pytest.raises(BadInput, match="Causal and masked runs can"):
        token_batch(batches, np.zeros((1, 8), dtype=np.int64), np.arange(8)[None], np.arange(1), 0.0)


@full_only
def test_a_student_of_another_size_learns_from_other_text(run: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = ExpertSet.load(run).tokenizer()
    size: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer) + 5, max_position_embeddings=32, **size)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "small")
    tokenizer.save_pretrained(tmp_path / "small")
    corpus = make_corpus(tmp_path / "corpus", number=50)
    options: dict[str, Any] = {"to": str(tmp_path / "small"), "data": corpus, "tokens": 1024, "mix": 1.0}
    found = xelm.distill(run, tmp_path / "student", temperature=2.0, policy="top1", **options)
    assert found.student == "small" and found.settings["policy"] == "top1"
    assert json.loads((tmp_path / "student" / "config.json").read_text())["hidden_size"] == 8


@full_only
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0: must be greater than 0"),
        ({"mix": -0.1}, "mix=-0.1: the share of the teacher"),
        ({"mix": 1.5}, "mix=1.5"),
        ({"tokens": 0}, "tokens=0 must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"policy": "bayes"}, "a document's experts are chosen once"),
        ({"policy": "nonsense"}, "nonsense"),
        ({"to": "OTHER"}, "reads other pieces than"),
        ({"data": "NOWHERE"}, "NOWHERE"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    run: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    from tests.router.tiny import BYTE_VOCABULARY, byte_tokenizer, llama

    llama(0, BYTE_VOCABULARY).save_pretrained(tmp_path / "OTHER")
    byte_tokenizer().save_pretrained(tmp_path / "OTHER")
    for key in ("to", "data"):
        if key in options:
            options = {**options, key: str(tmp_path / options[key])}
    with pytest.raises(BadInput, match=message):
        xelm.distill(run, tmp_path / "student", **{"tokens": 256, **options})


@full_only
def test_the_command_prints_a_table_or_json(run: Path, tmp_path: Path) -> None:
    from xelm.cli import group

    arguments = ["distill", str(run), "--to", "same", "--out", str(tmp_path / "s"), "--tokens", "256"]
    text = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert text.exit_code == 0 and "student against dense" in text.stdout
    value = json.loads(CliRunner().invoke(group, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert value["tokens"] == 256 and set(value["bits_per_byte"]) >= {"student", "dense", "average"}
    write_jsonl(tmp_path / "mine" / "notes.jsonl", ["mine"])
    refused = CliRunner().invoke(group, [*arguments[:5], str(tmp_path / "mine")])
    assert refused.exit_code != 0
