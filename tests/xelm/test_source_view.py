"""Sources as a model sees them: causal, masked and encoder models, and runs with their own text and effects."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from clustering.errors import BadInput
from clustering.plans.effects import Effects
from clustering.sources.profiles import profile_texts
from tests.xelm.conftest import WORDS, sentences, write_jsonl
from tests.xelm.made_runs import make_run
from xelm import rank_sources
from xelm.models.language_vectors import load_reader, model_distances
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase

SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def save(folder: Path, config: type, model: type, **options: Any) -> str:
    """A tiny random model with a byte tokenizer."""
    tokenizer = new_tokenizer(NewBase(context_length=64), ())
    torch.manual_seed(0)
    ids = {"pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 64}
    model(config(vocab_size=len(tokenizer), **{**SIZES, **ids, **options})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with held-out text and measured effects: Dutch helps German, Russian harms it."""
    folder = tmp_path_factory.mktemp("view")
    made = Path(shutil.copytree(make_run(folder, "full"), folder / "copy"))
    for code in WORDS:
        rows = [{"id": i, "split": "test", "text": text} for i, text in enumerate(sentences(code, 20))]
        write_jsonl(made / "eval" / "heldout" / f"{code}.jsonl", rows)
    Effects.of(["deu", "nld", "rus"], [[-0.3, -0.1, 0.3], [-0.2, -0.3, 0.3], [0.4, 0.3, -0.3]]).save(
        made / "effects.json"
    )
    return made


@pytest.mark.parametrize("kind", ["causal", "masked", "encoder"])
def test_any_kind_of_model_says_how_near_it_sees_sources(kind: str, corpus: Path, tmp_path: Path) -> None:
    name = {
        "causal": lambda: save(tmp_path / "m", transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "masked": lambda: save(tmp_path / "m", transformers.BertConfig, transformers.BertForMaskedLM),
        "encoder": lambda: save(tmp_path / "m", transformers.BertConfig, transformers.BertModel),
    }[kind]()
    report = rank_sources("deu", corpora=corpus, model=name, cache=tmp_path / "cache")
    distances = model_distances(name, str(corpus), max_tokens=5000)
    for score in report.ranking:
        expected = distances.subset(["deu", score.language]).values[0, 1]
        assert score.signals["model_distance"] == pytest.approx(expected, abs=1e-6)
        assert score.signals["subword_overlap"] is not None  # by the model's own tokenizer
        assert "model_distance" in score.contributions
    assert "model's view" in report.to_markdown()


def test_a_run_reads_its_own_text_and_tells_its_effects(run: Path) -> None:
    report = rank_sources("German", model=run)
    signals = {score.language: score.signals for score in report.ranking}
    assert {code: found["effect"] for code, found in signals.items()} == {"nld": -0.2, "rus": 0.4}
    assert report.ranking[0].language == "nld" and report.ranking[0].contributions["effect"] > 0
    assert signals["nld"]["model_distance"] < signals["rus"]["model_distance"]
    given = rank_sources("deu", ["nld", "rus", "jpn"], model=run, signals={"model_distance": {"jpn": 0.5}})
    distances = {score.language: score.signals["model_distance"] for score in given.ranking}
    assert distances["jpn"] == 0.5 and distances["nld"] < distances["rus"]  # type: ignore[operator]


def test_text_is_needed_and_a_target_without_it_is_said(
    run: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = save(tmp_path / "m", transformers.BertConfig, transformers.BertModel)
    with pytest.raises(BadInput, match="it reads text of each language"):
        rank_sources("deu", ["nld"], model=name)
    with pytest.raises(BadInput, match="a profile has no text"):
        rank_sources("deu", corpora={"nld": profile_texts(["een"])}, model=name)
    report = rank_sources("swa", ["deu", "nld"], corpus, model=name, cache=tmp_path / "cache")
    assert "no text of Swahili" in caplog.text
    assert "model_distance" not in report.ranking[0].signals


def test_weights_without_parts_that_matter_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    name = save(tmp_path / "m", transformers.BertConfig, transformers.BertForMaskedLM)
    load_reader(name)  # a pooler, which it lacks, is not read
    weights = load_file(tmp_path / "m" / "model.safetensors")
    lost = next(key for key in weights if "layer.1" in key)
    save_file({key: value for key, value in weights.items() if key != lost}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(BadInput, match=r"lack 1 tensor.*layer\.1"):
        load_reader(name)
