"""Cloze templates and soft prompts as ways to answer a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustering.errors import BadInput
from tests.router.tiny import BYTE_VOCABULARY, byte_tokenizer, llama
from tests.xelm.made_runs import make_run
from tests.xelm.seq2seq import save_mt5
from tests.xelm.test_architectures import MASKED, _save_base
from tests.xelm.transfers import recipe_of, write_task
from xelm.inference.routed import RoutedLM
from xelm.objectives.cloze import Cloze, continued, masked_in, written
from xelm.transferring.cloze.templates import TemplateFile
from xelm.transferring.data.examples import Example
from xelm.transferring.recipe import TransferRecipe
from xelm.transferring.transfer import transfer

WORDS = {"sport": "sports", "food": "food", "sky": "the weather"}


def write_templates(folder: Path, **changes: Any) -> str:
    """One language's templates for the topics, which ask in all."""
    value = {"fallback": '"eng"', "template": '"{text} This is about {label}."', "words": WORDS, **changes}
    words = "".join(f'{label} = "{word}"\n' for label, word in value["words"].items())
    head = f"fallback = {value['fallback']}\n" if value["fallback"] else ""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "templates.toml"
    file.write_text(f"{head}[eng]\ntemplate = {value['template']}\n[eng.labels]\n{words}", encoding="utf-8")
    return str(file)


def _clozes() -> list[Cloze]:
    return [
        Cloze("Das Haus ist ", "schön", " und groß."),
        Cloze("", "Wasser", ""),
        Cloze("Brot ", "essen wir heute", "."),
    ]


def test_a_causal_model_scores_an_answer_as_routed_scoring_does(tmp_path: Path) -> None:
    run = make_run(tmp_path, "full")
    lm = RoutedLM.from_pretrained(run)
    clozes = _clozes()
    prefixes = [cloze.before.rstrip(" ") for cloze in clozes]
    texts = [cloze.text[len(prefix) :] for cloze, prefix in zip(clozes, prefixes, strict=True)]
    wanted = [-score.nats for score in lm.score(texts, "german", prefix=prefixes)]
    found = continued(lm.models.get("german"), clozes, lm.tokenizer)
    assert np.allclose(found, wanted, atol=1e-4)


def test_a_masked_model_fills_all_tokens_of_an_answer_at_once(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = _save_base(tmp_path / "m", "XLMRoberta", MASKED["XLMRoberta"][0], "byte", masked=True)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for cloze in _clozes():
        [found] = masked_in(model, [cloze], tokenizer)
        parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in
                 (cloze.before, cloze.answer, cloze.after)]  # fmt: skip
        ids = torch.tensor([[*parts[0], *([tokenizer.mask_token_id] * len(parts[1])), *parts[2]]])
        ids = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), ids, torch.tensor([[tokenizer.eos_token_id]])], 1)
        with torch.no_grad():
            log_probs = model(input_ids=ids).logits[0].log_softmax(-1)
        start = 1 + len(parts[0])
        wanted = np.mean([float(log_probs[start + i, token]) for i, token in enumerate(parts[1])])
        assert found == pytest.approx(wanted, abs=1e-4)
    assert np.allclose(masked_in(model, _clozes(), tokenizer), [masked_in(model, [c], tokenizer)[0] for c in _clozes()],
                       atol=1e-4)  # fmt: skip


def test_an_encoder_decoder_writes_the_answer_into_the_gap(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = save_mt5(tmp_path / "m")
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    first, end = tokenizer.convert_tokens_to_ids("<extra_id_0>"), tokenizer.eos_token_id
    wanted = []
    for cloze in _clozes():
        before, answer, after = (
            tokenizer(part, add_special_tokens=False)["input_ids"] for part in (cloze.before, cloze.answer, cloze.after)
        )
        labels = torch.tensor([[first, *answer, end]])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*before, first, *after, end]]), labels=labels).logits[0]
        values = logits.log_softmax(-1).gather(1, labels[0][:, None])[:, 0]
        wanted.append(float(values[1:].sum()))
    assert np.allclose(written(model, _clozes(), tokenizer), wanted, atol=1e-4)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A causal model with a byte tokenizer."""
    folder = tmp_path / "model"
    llama(0, BYTE_VOCABULARY).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_cloze_answers_are_the_likeliest_words_and_need_no_rows_that_teach(tmp_path: Path, model: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = write_task(tmp_path / "topics", number=30)
    base = {"features": "hidden", "model": str(model), "device": "cpu", "max_length": 40}
    train = {"adapter": "cloze", "templates": write_templates(tmp_path)}
    report = transfer(recipe_of(folder, base=base, train=train, evaluate={"targets": ["spa"]}), tmp_path / "out")
    [row] = report.table
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    file = TemplateFile.read(train["templates"])
    tests = [line for line in _rows(folder / "spa.jsonl") if line["split"] == "test"]
    right = 0
    for line in tests:
        example = Example(line["text"][:40], "spa")
        scores = {
            label: continued(loaded, file.of("spa", list(WORDS), is_pair=False).clozes(example, label),
                             byte_tokenizer()).mean() for label in WORDS
        }  # fmt: skip
        right += max(scores, key=lambda label: scores[label]) == line["category"]
    assert row["by_language"]["spa"] == pytest.approx(right / len(tests))


def _rows(file: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_experts_of_a_run_answer_templates(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "topics", number=30, languages=("deu", "nld"))
    run = make_run(tmp_path / "run", "lora")
    train = {"adapter": "cloze", "templates": write_templates(tmp_path)}
    base = {"features": "hidden", "run": str(run), "policy": ["base", "top1"], "device": "cpu", "max_length": 40}
    recipe = recipe_of(folder, base=base, train=train, sources={"languages": ["deu"]})
    report = transfer(recipe, tmp_path / "out")
    assert [row["model"] for row in report.table] == ["base", "top1"]
    assert all(0 <= row["accuracy"] <= 1 for row in report.table)


def test_a_soft_prompt_learns_and_leaves_the_model_as_it_is(tmp_path: Path, model: Path) -> None:
    folder = write_task(tmp_path / "topics", number=60, languages=("deu", "nld"))
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    base = {"features": "hidden", "model": str(model), "device": "cpu"}
    train = {"adapter": "prompt", "prompt_length": 4, "epochs": 12}
    recipe = recipe_of(folder, base=base, train=train, sources={"languages": ["deu"]}, evaluate={"targets": ["nld"]})
    first = transfer(recipe, tmp_path / "out")
    [home] = [cell for row in first.rows for cell in row.cells if cell.target == "deu"]
    assert home.accuracy.value > 0.5, "three topics"
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before
    assert transfer(recipe, tmp_path / "again").table == first.table


def test_only_prompt_and_head_are_trained(model: Path) -> None:
    from transformers import AutoModel

    from xelm.transferring.bases.network import TaskNetwork
    from xelm.transferring.heads.soft_prompt import SoftPrompt
    from xelm.transferring.recipe import Teaching

    inner = AutoModel.from_pretrained(model)
    network = TaskNetwork(SoftPrompt(Teaching(adapter="prompt", prompt_length=4)).prepare(inner), 3, "mean")
    width = inner.config.hidden_size
    trained = {tuple(p.shape) for p in network.parameters() if p.requires_grad}
    assert trained == {(4, width), (3, width), (3,)}
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]])
    assert network(ids, torch.tensor([[1, 1, 1], [1, 1, 0]]), None).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fallback": ""}, r"no templates for spa\. Add a table \[spa\], or .* fallback = \"eng\""),
        ({"words": {"sport": "sports"}}, r"\[eng.labels\]: no word for food, sky"),
        ({"template": '"{text} {second} {label}"'}, r"\[eng\]: a template has \{second\}: no pairs here"),
        ({"template": '"{label}"'}, r"needs \{text\} and \{label\}, once each"),
        ({"words": {**WORDS, "sky": "food"}}, "two labels have the same word"),
        ({"fallback": '"fin"'}, r"fallback = 'fin' has no table"),
        ({"template": "3"}, "template is a text, or a list of texts"),
    ],
)
def test_faults_of_templates_are_told(tmp_path: Path, model: Path, changes: dict[str, Any], message: str) -> None:
    folder = write_task(tmp_path / "topics", number=30, languages=("eng", "spa"))
    train = {"adapter": "cloze", "templates": write_templates(tmp_path, **changes)}
    base = {"features": "hidden", "model": str(model), "device": "cpu"}
    with pytest.raises(BadInput, match=message):
        transfer(recipe_of(folder, base=base, train=train, evaluate={"targets": ["spa"]}), tmp_path / "out")


def test_what_cannot_answer_templates_is_refused(tmp_path: Path, model: Path) -> None:
    from transformers import AutoModel

    folder, templates = write_task(tmp_path / "topics", number=30), write_templates(tmp_path)
    AutoModel.from_pretrained(model).save_pretrained(tmp_path / "bare")
    byte_tokenizer().save_pretrained(tmp_path / "bare")
    train = {"adapter": "cloze", "templates": templates}
    bases: list[tuple[dict[str, Any], str]] = [
        ({"features": "hidden", "model": str(tmp_path / "bare")}, "has no output layer of a causal, masked or"),
        ({"features": "ngrams"}, "has no model that answers"),
    ]
    for base, message in bases:
        with pytest.raises(BadInput, match=message):
            transfer(recipe_of(folder, base=base, train=train), tmp_path / message[:9])
    with pytest.raises(BadInput, match=r'adapter = "cloze" and templates .* belong together'):
        TransferRecipe.from_dict(recipe_of(folder, train={"adapter": "cloze"}))
    words = recipe_of(folder, base={"features": "hidden", "model": str(model)}, train=train, task={"kind": "tagging"})
    with pytest.raises(BadInput, match="answers whole texts"):
        transfer(words, tmp_path / "tags")


def test_templates_ask_in_the_language_of_the_row(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        '[en]\ntemplate = ["{text} About {label}.", "{label}: {text}"]\n[en.labels]\nx = "this"\n'
        '[German]\ntemplate = "{text} Über {label}."\n[German.labels]\nx = "dies"\n',
        encoding="utf-8",
    )
    read = TemplateFile.read(str(file))
    row = Example("A {label} b", "eng")
    english = [cloze.text for cloze in read.of("eng", ["x"], is_pair=False).clozes(row, "x")]
    assert english == ["A {label} b About this.", "this: A {label} b"], "what a row spells stays text"
    assert [c.text for c in read.of("deu", ["x"], is_pair=False).clozes(row, "x")] == ["A {label} b Über dies."]
