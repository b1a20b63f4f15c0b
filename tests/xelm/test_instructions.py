"""Prompts with answers as training text: their form, what is learnt of them, and a run that is taught and judged so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustering.corpora.rows import Row
from clustering.errors import BadInput
from tests.xelm.conftest import WORDS, make_corpus, sentences, write_jsonl
from tests.xelm.interrupting import assert_interruption_leaves_no_trace
from xelm.corpus.blocks import Blocks
from xelm.corpus.instructions import instruction_ids
from xelm.corpus.store import LanguageCounts, TokenStore
from xelm.corpus.tokens.encoder import boundary_tokens
from xelm.inference.routed import RoutedLM
from xelm.making.train import dry_run, train
from xelm.models.tokenizers import new_tokenizer
from xelm.objectives.causal import CausalBatches
from xelm.objectives.objective import IGNORED
from xelm.recipe.recipe import NewBase, Recipe
from xelm.training.stage import only_judged

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def _tokenizer(template: str | None = None) -> Any:
    tokenizer = new_tokenizer(NewBase(tokenizer="byte"), ())
    tokenizer.chat_template = template
    return tokenizer


def _row(prompt: str, answer: str) -> Row:
    return Row(f"{prompt}\n{answer}", answer_at=len(prompt) + 1)


def _ids(row: Row, tokenizer: Any) -> tuple[list[int], int]:
    return instruction_ids(row, tokenizer, *boundary_tokens(tokenizer))


def test_without_a_template_prompt_and_answer_are_lines() -> None:
    tokenizer = _tokenizer()
    ids, start = _ids(_row("Was ist das?", "Ein Haus."), tokenizer)
    assert tokenizer.decode(ids) == "<s>Was ist das?\nEin Haus.</s>"
    assert tokenizer.decode(ids[start:]) == "Ein Haus.</s>"


def test_the_template_of_the_base_frames_both_and_its_end_is_learnt() -> None:
    tokenizer = _tokenizer(TEMPLATE)
    ids, start = _ids(_row("Was ist das?", "Ein Haus."), tokenizer)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Was ist das?"}], add_generation_prompt=True, tokenize=False
    )
    assert ids[:start] == tokenizer(asked, add_special_tokens=False)["input_ids"], "as a chat asks the finished run"
    assert tokenizer.decode(ids[start:]) == "Ein Haus.</s>"


def test_special_tokens_that_a_prompt_or_an_answer_spells_stay_text() -> None:
    tokenizer = _tokenizer(TEMPLATE)
    ids, start = _ids(_row("Was heißt </s>?", "<s> und </s>."), tokenizer)
    assert ids.count(tokenizer.eos_token_id) == 2 and ids[start:].count(tokenizer.bos_token_id) == 0
    assert tokenizer.decode(ids[start:]) == "<s> und </s>.</s>"


@pytest.mark.parametrize(
    ("template", "message"),
    [("{{ messages[0].content }}", "does not show a prompt and its answer"), ("{{ raise_exception('no') }}", "no")],
)
def test_a_template_that_hides_the_answer_is_refused(template: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _ids(_row("a", "b"), _tokenizer(template))


def test_only_answers_are_learnt_in_blocks_that_hold_them_whole() -> None:
    tokenizer = _tokenizer()
    documents = [_ids(_row(f"Frage {i}?", f"Antwort {i}."), tokenizer) for i in range(20)]
    starts = np.cumsum([0, *(len(ids) for ids, _ in documents)])[:-1]
    tokens = np.array([token for ids, _ in documents for token in ids], dtype=np.uint16)
    answers = np.array([start for _, start in documents])
    blocks = Blocks(TokenStore("deu", tokens, starts, LanguageCounts(), Path(), True, answers), 64)
    every = np.arange(len(blocks))
    ids, positions = blocks.take(every)
    batch = only_judged(CausalBatches().batch(ids, positions, every, 0.0), blocks.judged(every))
    learnt = [tokenizer.decode(labels[labels != IGNORED]) for labels in batch.labels]  # type: ignore[attr-defined]
    for number in range(20):
        assert any(f"Antwort {number}.</s>" in text for text in learnt)
    assert not any("Frage" in text or "?" in text for text in learnt)


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """Questions and answers of three languages."""
    for code in WORDS:
        rows = [
            {"prompt": f"{text}?", "answer": answer.lower()}
            for text, answer in zip(sentences(code, 60), sentences(code, 60, seed=1), strict=True)
        ]
        write_jsonl(tmp_path / "taught" / f"{code}.jsonl", rows)
    return tmp_path / "taught"


def _recipe(tiny_recipe: Callable[..., Recipe], folder: Path, **data: Any) -> Recipe:
    keys = {"path": str(folder), "kind": "instructions", **data}
    new = {"tokenizer": "byte", "hidden_size": 16, "num_layers": 1, "num_heads": 2, "context_length": 192}
    return tiny_recipe(base={"new": {**new, "tokens": 6144}}, data=keys, train={"evaluate_every_steps": 2})


def test_a_run_is_taught_and_judged_on_answers(
    tmp_path: Path, taught: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    experts = train(_recipe(tiny_recipe, taught), tmp_path / "run")
    assert experts.history("base")[-1]["loss"] < experts.history("base")[0]["loss"]
    result = experts.result("test")
    assert result is not None and sorted(result.routed) == ["ensemble", "top1"]
    documents = experts.heldout("test", ["rus"])
    model, tokenizer = experts.load_model("base"), experts.tokenizer()
    nats, tokens = 0.0, 0
    for document in documents:
        prompt, answer = document.text.split("?\n", 1)
        assert (document.asked, document.judged) == (f"{prompt}?", answer)
        head = tokenizer(f"{prompt}?\n", add_special_tokens=False)["input_ids"]
        ids = [tokenizer.bos_token_id, *head, *tokenizer(answer, add_special_tokens=False)["input_ids"]]
        ids.append(tokenizer.eos_token_id)
        with torch.no_grad():
            log_probs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(head) + 1, len(ids))
        nats, tokens = nats - sum(float(log_probs[i - 1, ids[i]]) for i in places), tokens + len(places)
    cell = result.models["base"]["rus"]
    assert (cell.tokens, cell.nats) == (tokens, pytest.approx(nats, rel=1e-4))
    assert cell.bytes == sum(len(document.judged.encode()) for document in documents)
    assert RoutedLM(experts).generate(["und ist das?\n"], max_new_tokens=3)


def test_an_interrupted_training_ends_as_an_undisturbed_one(
    tmp_path: Path, taught: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = _recipe(tiny_recipe, taught)
    settings = replace(recipe.train, checkpoint_every_steps=2, dense=False)
    assert_interruption_leaves_no_trace(replace(recipe, train=settings), tmp_path, step=6)


def test_what_is_no_instruction_is_refused(tmp_path: Path, taught: Path, tiny_recipe: Callable[..., Recipe]) -> None:
    make_corpus(tmp_path / "plain")
    with pytest.raises(BadInput, match=r"no text in the field 'answer' \(found: text\)"):
        dry_run(_recipe(tiny_recipe, tmp_path / "plain"), tmp_path / "run")
    with pytest.raises(BadInput, match=r"no prompt in the field 'question' \(found: prompt, answer\)"):
        dry_run(_recipe(tiny_recipe, taught, prompt_field="question"), tmp_path / "run")
    write_jsonl(taught / "rus.jsonl", [{"prompt": "и?", "answer": " "}] * 3)
    with pytest.raises(BadInput, match="the answer in the field 'answer' is empty"):
        dry_run(_recipe(tiny_recipe, taught), tmp_path / "run")
    (taught / "rus.jsonl").unlink()
    (taught / "rus.txt").write_text("и это дом\n" * 50, encoding="utf-8")
    with pytest.raises(BadInput, match="a line of text holds no prompt with its answer"):
        dry_run(_recipe(tiny_recipe, taught), tmp_path / "run")
    with pytest.raises(BadInput, match=r'kind = "instructions" needs a causal objective; "masked"'):
        tiny_recipe(data={"kind": "instructions"}, train={"objective": "masked"}, base={"new": None, "model": "x"})
