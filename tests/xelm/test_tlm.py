"""Pairs of translations in one row: how they are stored, packed, masked and placed, and a run that reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustering.errors import BadInput
from tests.xelm.conftest import WORDS, sentences, write_jsonl
from tests.xelm.interrupting import assert_interruption_leaves_no_trace
from tests.xelm.test_architectures import MASKED, _save_base
from xelm.aligning.pairs import read_pairs
from xelm.corpus.blocks import Blocks
from xelm.corpus.store import LanguageCounts, TokenStore
from xelm.corpus.tokens.encoder import boundary_tokens
from xelm.making.train import dry_run, train
from xelm.objectives.masked import MaskedBatches
from xelm.objectives.objective import IGNORED
from xelm.objectives.tlm import TlmBatches, first_position
from xelm.recipe.recipe import Recipe

BOS, EOS, MASK, PAD = 1, 2, 4, 0


def _tlm(rate: float = 0.3) -> TlmBatches:
    return TlmBatches(MASK, 1000, (PAD, BOS, EOS, MASK), (rate,), 7, ends=(EOS,), pad_id=PAD)


def _pair(one: int, other: int, start: int = 10) -> list[int]:
    return [BOS, *range(start, start + one), EOS, BOS, *range(start + 100, start + 100 + other), EOS]


def _store(documents: list[list[int]]) -> TokenStore:
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    tokens = np.array([token for document in documents for token in document], dtype=np.uint16)
    return TokenStore("deu", tokens, starts, LanguageCounts(), Path(), whole=True)


def test_positions_begin_again_with_the_second_side_alone() -> None:
    ids = np.array(_pair(3, 4))
    assert _tlm().sides(ids).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]
    assert _tlm().sides(np.array([BOS, 10, 11, EOS])).tolist() == [0, 1, 2, 3]
    assert _tlm().sides(np.array([10, EOS, BOS, 11])).tolist() == [0, 1, 0, 1], (
        "a pair that a block cut in its first side"
    )


@pytest.mark.parametrize("length", [16, 24, 50])
def test_every_document_that_fits_is_whole_in_one_block(length: int) -> None:
    rng = np.random.default_rng(length)
    documents = [_pair(*rng.integers(1, 9, 2).tolist(), start=200 + 5 * i) for i in range(40)]
    documents[7] = [BOS, *range(10, 70), EOS]  # longer than a block: cut
    blocks = Blocks(_store(documents), length)
    ids, positions = blocks.take(np.arange(len(blocks)))
    assert ids.shape == positions.shape == (len(blocks), length)
    rows = [",".join(map(str, row)) + "," for row in ids.tolist()]
    for number, document in enumerate(documents):
        if number != 7 and len(document) <= length:
            assert any(",".join(map(str, document)) + "," in row for row in rows), number
    assert set(range(10, 70)) <= set(ids.ravel().tolist())
    assert positions[0, 0] == 0 and len(blocks) < 2 * sum(map(len, documents)) / length


def test_each_document_is_a_row_with_its_labels_and_little_filling() -> None:
    documents = [_pair(3, 4), [BOS, 30, 31, 32, EOS], _pair(6, 5, start=40), [BOS, 90, 91]]
    ids = np.array([[token for document in documents for token in document]])
    positions = np.concatenate([np.arange(len(document)) for document in documents])[None]
    batch = _tlm(0.5).batch(ids, positions, np.array([5]), 0.0)
    plain = MaskedBatches(MASK, 1000, (PAD, BOS, EOS, MASK), (0.5,), 7).batch(ids, positions, np.array([5]), 0.0)
    assert batch.num_targets == plain.num_targets > 5
    found = {}
    for part in batch.parts:
        assert part.attention_mask.mean() > 0.5
        for row in range(len(part.input_ids)):
            length = int(part.attention_mask[row].sum())
            assert (part.input_ids[row, length:] == PAD).all() and (part.labels[row, length:] == IGNORED).all()
            found[length] = (part.input_ids[row, :length], part.labels[row, :length], part.position_ids[row, :length])
    begin = 0
    for document in documents:
        seen, labels, places = found[len(document)]
        own = slice(begin, begin + len(document))
        assert np.array_equal(seen, plain.input_ids[0, own]) and np.array_equal(labels, plain.labels[0, own])
        assert np.array_equal(places, _tlm().sides(np.array(document)))
        begin += len(document)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return _save_base(tmp_path / "model", "XLMRoberta", {**MASKED["XLMRoberta"][0], "max_position_embeddings": 80},
                      "byte", masked=True)  # fmt: skip


def test_a_row_is_read_as_by_the_model_alone_and_sees_its_other_side(base: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(base).eval()
    assert first_position(model) == model.config.pad_token_id + 1
    documents = [_pair(3, 4), [BOS, 30, 31, 32, EOS]]
    ids = np.array([[token for document in documents for token in document]])
    positions = np.concatenate([np.arange(len(document)) for document in documents])[None]
    batch = replace(_tlm(0.5), pad_id=model.config.pad_token_id).batch(ids, positions, np.array([1]), 0.0)
    device = torch.device("cpu")
    with torch.no_grad():
        together = float(batch.summed_loss(model, isolated=True, device=device))
        alone = sum(_naive_loss(model, batch.parts, row) for row in range(2))
    assert together == pytest.approx(alone, rel=1e-5)
    part = next(part for part in batch.parts if part.input_ids.shape[1] == 11)
    other = replace(part, input_ids=np.where(np.arange(11) == 8, 77, part.input_ids))
    first = np.where(np.arange(11) < 5, part.labels, IGNORED)
    losses = [
        float(replace(p, labels=first).summed_loss(model, isolated=True, device=device).detach()) for p in (part, other)
    ]
    assert first.max() >= 0 and losses[0] != losses[1], "the first side is predicted from the second too"


def _naive_loss(model: Any, parts: Any, row: int) -> float:
    part = parts[row]  # one document in each
    length, first = int(part.attention_mask.sum()), model.config.pad_token_id + 1
    logits = model(
        input_ids=torch.from_numpy(part.input_ids[:, :length]),
        position_ids=torch.from_numpy(part.position_ids[:, :length]) + first,
    ).logits[0].log_softmax(-1)  # fmt: skip
    return -sum(float(logits[i, label]) for i, label in enumerate(part.labels[0, :length]) if label != IGNORED)


@pytest.fixture
def tlm_recipe(tmp_path: Path, base: Path, tiny_recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Experts of three languages, of which deu and rus have pairs with nld."""
    for code in ("deu", "rus"):
        rows = [
            {"text": text, "nld": other}
            for text, other in zip(sentences(code, 40, seed=3), sentences("nld", 40, seed=4), strict=True)
        ]
        write_jsonl(tmp_path / "pairs" / f"{code}.jsonl", rows)

    def make(train: dict[str, Any] | None = None, **data: Any) -> Recipe:
        return tiny_recipe(
            base={"new": None, "model": str(base)},
            data={"heldout_bytes": 200, "pairs": str(tmp_path / "pairs"), "pivot": "nld", **data},
            train={
                "tokens": 1536,
                "sequence_length": 64,
                "dense": False,
                "objective": "tlm",
                "mask_rates": [0.3],
                **(train or {}),
            },
        )

    return make


def test_a_run_reads_text_and_pairs_but_no_pair_that_align_tests(
    tmp_path: Path, tlm_recipe: Callable[..., Recipe]
) -> None:
    experts = train(tlm_recipe(), tmp_path / "run", report=False)
    entry = experts.entry_or_none(experts.plan.cluster_of("rus"))
    assert entry is not None and entry.isolation == "attention"
    tokenizer = experts.tokenizer()
    (before,), (after,) = boundary_tokens(tokenizer)
    pairs = read_pairs(tmp_path / "pairs", "nld")
    for code in WORDS:
        tokens = np.fromfile(next((tmp_path / "run" / "cache").glob(f"{code}-*")) / "tokens.bin", dtype=np.uint16)
        stored = ",".join(map(str, tokens.tolist()))

        def found(pair: Any, stored: str = stored) -> bool:
            one, other = (tokenizer(side, add_special_tokens=False)["input_ids"] for side in (pair.text, pair.pivot))
            return ",".join(map(str, [before, *one, after, before, *other, after])) in stored

        if code == "nld":
            continue
        assert all(map(found, pairs[code].fit)) and not any(map(found, pairs[code].held))
        assert len(pairs[code].held) >= 2
    assert list(evaluated(experts)) == ["base", *experts.names]


def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path, tlm_recipe: Callable[..., Recipe]) -> None:
    recipe = tlm_recipe(train={"tokens": 4096, "checkpoint_every_steps": 2})
    assert_interruption_leaves_no_trace(recipe, tmp_path, step=4)


def evaluated(experts: Any) -> dict[str, Any]:
    from xelm.evaluation.evaluate import evaluate_on

    return dict(evaluate_on(experts, None).models)


def test_other_pairs_make_another_model(tmp_path: Path, tlm_recipe: Callable[..., Recipe]) -> None:
    run, recipe = tmp_path / "run", tlm_recipe()
    train(recipe, run, report=False)
    write_jsonl(tmp_path / "pairs" / "rus.jsonl", [
        {"text": text, "nld": other}
        for text, other in zip(sentences("rus", 40, seed=7), sentences("nld", 40, seed=8), strict=True)
    ])  # fmt: skip
    with pytest.raises(BadInput, match=r"made with another recipe|the text of rus is another"):
        train(recipe, run, report=False)


def test_pairs_and_objective_belong_together(tmp_path: Path, tlm_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(BadInput, match=r'objective = "tlm" needs \[data\] pairs'):
        tlm_recipe(pairs=None)
    with pytest.raises(BadInput, match=r'objective = "masked" does not read \[data\] pairs'):
        Recipe.from_dict({**(table := tlm_recipe().to_dict()), "train": {**table["train"], "objective": "masked"}})
    for folder in (tmp_path / "pairs").iterdir():
        folder.rename(folder.with_name(folder.name.replace("deu", "fin").replace("rus", "est")))
    with pytest.raises(BadInput, match="pairs of est, fin, but of no language of this run beside the pivot"):
        dry_run(tlm_recipe(), tmp_path / "run")
