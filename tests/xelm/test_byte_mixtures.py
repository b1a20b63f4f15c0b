"""Experts over different pieces as mixtures over bytes: real text in several scripts, three kinds of tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xelm
from clustering import ClusterPlan
from router.identify.combined import CombinedIdentifier
from router.scoring.growing import GrowingWeights
from tests.xelm.made_runs import small_llama
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import Manifest, ModelEntry
from xelm.vocabulary.byte_mixture import ByteMixture
from xelm.vocabulary.byte_model import ByteModel
from xelm.vocabulary.spelling import Spelling, cannot_read_bytes
from xelm.vocabulary.token_tree import TokenTree, read_tree

STARTER = Path(xelm.__file__).parent / "starter"
LANGUAGES = ("deu", "rus", "jpn")
KINDS = ("byte-level", "sentencepiece", "metaspace", "unigram")
CONTEXT = 96
SPECIALS = ["<unk>", "<s>", "</s>"]


def texts_of(code: str) -> list[str]:
    """Documents of the starter corpus."""
    lines = (STARTER / f"{code}.jsonl").read_text(encoding="utf-8").splitlines()
    return [" ".join(json.loads(line)["text"].split()) for line in lines]


def make_tokenizer(kind: str) -> Any:
    """A tokenizer of one kind, trained on three languages; characters that it has no piece for are bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_256 = [f"<0x{byte:02X}>" for byte in range(256)]
    common: dict[str, Any] = {"vocab_size": 900, "special_tokens": SPECIALS + bytes_256, "show_progress": False}
    if kind == "byte-level":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(**common | {"special_tokens": SPECIALS, "initial_alphabet": alphabet})
    elif kind == "unigram":
        inner = Tokenizer(models.Unigram())
        inner.normalizer = normalizers.NFKC()
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    else:
        inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        if kind == "sentencepiece":  # as Llama's: no words, spaces are letters
            inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            inner.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(**common, limit_alphabet=120)
    if kind == "sentencepiece":
        parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        inner.decoder = decoders.Sequence(parts)
    elif kind != "byte-level":
        inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    inner.train_from_iterator((text for code in LANGUAGES for text in texts_of(code)[:20]), trainer)
    table = json.loads(inner.to_str())
    table["added_tokens"] = [token for token in table["added_tokens"] if token["content"] in SPECIALS]
    if kind == "unigram":
        table["model"]["byte_fallback"] = True
    inner = Tokenizer.from_str(json.dumps(table))
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def make_model(tokenizer: Any, seed: int) -> Any:
    """A causal model over some pieces."""
    return small_llama(tokenizer, seed, CONTEXT).eval()


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    """One of each kind."""
    return {kind: make_tokenizer(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def lm(tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of three experts with pieces of their own, beside a base with byte-level ones."""
    run = tmp_path_factory.mktemp("mixed")
    owners = dict(zip(LANGUAGES, ("sentencepiece", "metaspace", "unigram"), strict=True))
    for seed, (code, kind) in enumerate([("base", "byte-level"), *owners.items()]):
        place = run / "base" if code == "base" else run / "experts" / code
        make_model(tokenizers[kind], seed).save_pretrained(place)
        tokenizers[kind].save_pretrained(place)
    ClusterPlan({code: [code] for code in LANGUAGES}, "by hand").save(run / "plan.json")
    CombinedIdentifier.train({code: texts_of(code)[:20] for code in LANGUAGES}).save(run / "router")
    entries = {code: ModelEntry([code], "base", state="done", vocabulary=kind) for code, kind in owners.items()}
    manifest = Manifest(recipe={}, base=ModelEntry([], None, state="done"), experts=entries)
    manifest.refresh_files(run)
    manifest.write(run)
    return xelm.RoutedLM(ExpertSet.load(run), device="cpu")


def contexts_of(number: int) -> list[str]:
    """Beginnings of documents in all scripts: at words' ends, inside words, after a space."""
    rng, found = np.random.default_rng(0), list[str]()
    documents = {code: texts_of(code)[20:] for code in LANGUAGES}
    while len(found) < number:
        code = LANGUAGES[len(found) % len(LANGUAGES)]
        text = documents[code][rng.integers(len(documents[code]))]
        found.append(text[: rng.integers(0, 40)])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_model_agrees_with_all_its_covers(kind: str, tokenizers: dict[str, Any]) -> None:
    """By brute force: every token that a cover may end with, after every beginning as the tokenizer cuts it."""
    import torch

    tokenizer = tokenizers[kind]
    model, spelling = make_model(tokenizer, 5), Spelling(tokenizer)
    assert spelling.hidden == (kind != "byte-level")
    text = "und weiß 家"
    found = np.exp(ByteModel(model, spelling, CONTEXT).next_bytes(text))
    assert np.allclose(found.sum(axis=1), 1, atol=1e-9)
    prompt, start = "und we", tokenizer.bos_token_id
    cuts = {len(prompt[:stop]): tokenizer(prompt[:stop], add_special_tokens=False)["input_ids"] for stop in range(1, 7)}
    begun = {stop + spelling.hidden: [start, *ids] for stop, ids in cuts.items()} | {0: [start]}
    if spelling.hidden:
        begun[1] = [start, tokenizer.convert_tokens_to_ids("▁")]
    raw, masses = b" " * spelling.hidden + prompt.encode(), np.zeros(257)
    for place, ids in begun.items():
        with torch.no_grad():
            probs = model(torch.tensor([ids])).logits[0].double().softmax(-1).numpy()
        before = np.prod([probs[i, token] for i, token in enumerate(ids[1:])])
        rest = raw[place:]
        for index in range(len(tokenizer)):
            piece = tokenizer.convert_ids_to_tokens(index)
            if piece in SPECIALS:
                continue
            if kind == "byte-level":
                spelled = bytes(spelling._spelled(piece))
            elif piece.startswith("<0x"):
                spelled = bytes([int(piece[3:5], 16)])
            else:
                spelled = piece.replace("▁", " ").encode()
            if spelled.startswith(rest) and len(spelled) > len(rest):
                masses[spelled[len(rest)]] += before * probs[-1, index]
        if place == len(raw):
            masses[256] += before * probs[-1, tokenizer.eos_token_id]
    assert np.allclose(found[len(prompt)], masses / masses.sum(), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_longer_than_the_context_is_read_on_by_what_came_before_alone(
    kind: str, tokenizers: dict[str, Any]
) -> None:
    reader = ByteModel(make_model(tokenizers[kind], 6), Spelling(tokenizers[kind]), 24)
    text = f"{texts_of('deu')[21][:60]} {texts_of('rus')[21][:30]} {texts_of('jpn')[21][:20]}"
    rows = reader.next_bytes(text)
    assert np.allclose(np.exp(rows).sum(axis=1), 1, atol=1e-9)
    for stop in (5, 40, 61, 80, 100):
        first = reader.next_bytes(text[:stop])
        assert np.allclose(first, rows[: len(first)], atol=1e-4)


def test_a_tree_reads_as_its_beginnings_one_by_one(tokenizers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import xelm.vocabulary.token_tree as module

    model, tree = make_model(tokenizers["byte-level"], 7), TokenTree()
    for ids in ((1, 9, 8, 7), (1, 9, 8, 6, 5), (1, 9, 4), (1, 9, 8, 7, 3), (1,)):
        assert [tree.tokens[node] for node in tree.path(tree.add(ids))] == list(ids)
    found = {node: (log_prob, row) for node, log_prob, row in read_tree(tree, model)}
    monkeypatch.setattr(module, "_takes_trees", lambda model: False)
    monkeypatch.setattr(module, "_MOST_TOKENS", 3)
    alone = {node: (log_prob, row) for node, log_prob, row in read_tree(tree, model)}
    assert len(found) == len(alone) == len(tree.tokens) == 8
    for node, (log_prob, row) in found.items():
        assert log_prob == pytest.approx(alone[node][0], abs=1e-4)
        assert np.allclose(row, alone[node][1], atol=1e-4)


def check_sums_and_bounds(lm: Any, number: int) -> None:
    """The claims of docs/vocabulary.md on so many contexts."""
    texts = contexts_of(number)
    for policy in ("ensemble", "bayes", *lm.names):
        found = lm.next_bytes(texts, policy)
        assert found.shape == (number, 257)
        assert np.abs(found.sum(axis=1) - 1).max() < 1e-6
    mixture = ByteMixture(lm.vocabularies, lm.models, lm.context)
    weights_K = np.array([0.4, 0.3, 0.2, 0.1])
    for text in texts:
        alone = {k: _nats(mixture, text, np.eye(4)[k], 0.0) for k in range(4)}
        bayes, fixed = (_nats(mixture, text, weights_K, dynamic) for dynamic in (1.0, 0.0))
        for k, nats in alone.items():
            assert bayes <= nats - np.log(weights_K[k]) + 1e-6
            assert fixed <= nats - len(text.encode()) * np.log(weights_K[k]) + 1e-6
            if text:
                assert nats <= lm.score([text], lm.names[k])[0].nats + 1e-4  # the tokenizer's own cut is one of many


def _nats(mixture: ByteMixture, text: str, weights_K: np.ndarray, dynamic: float) -> float:
    return float(-mixture.log_probs(text, GrowingWeights.constant(weights_K), dynamic=dynamic).sum())


def test_next_bytes_sum_to_one_and_no_expert_is_much_better(lm: Any) -> None:
    check_sums_and_bounds(lm, 12)


@pytest.mark.slow
def test_next_bytes_sum_to_one_on_200_contexts(lm: Any) -> None:
    check_sums_and_bounds(lm, 200)


@pytest.mark.parametrize("dynamic", [0.0, 1.0])
def test_a_text_is_as_probable_as_its_bytes_one_after_another(lm: Any, dynamic: float) -> None:
    mixture = ByteMixture(lm.vocabularies, lm.models, lm.context)
    weights_K, text = np.array([0.4, 0.3, 0.2, 0.1]), "Haus 7"
    whole = mixture.log_probs(text, GrowingWeights.constant(weights_K), dynamic=dynamic)
    for stop, letter in enumerate(text):
        row = mixture.next_bytes(text[:stop], weights_K, dynamic=dynamic)
        assert np.log(row[ord(letter)]) == pytest.approx(whole[stop], abs=1e-6)


def test_what_cannot_be_read_byte_by_byte_is_said(lm: Any, tokenizers: dict[str, Any]) -> None:
    from tests.xelm.test_prune import make_tokenizer as with_unknown

    assert "WordPiece" in str(cannot_read_bytes(with_unknown("wordpiece")))
    mixture = ByteMixture(lm.vocabularies, lm.models, lm.context)
    for text, reason in ((" Haus", "changes the text"), ("Ein ﬁ", "changes the text")):
        with pytest.raises(xelm.BadInput, match=f"{reason}.*Use top1, or the name of one expert"):
            mixture.next_bytes(text, np.full(4, 0.25), dynamic=0.0)
    with pytest.raises(xelm.BadInput, match="no piece for '家'"):
        Spelling(with_unknown("unigram")).check("das 家")
