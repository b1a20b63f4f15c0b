"""Experts with a vocabulary of their own: learned, sized, initialised, trained, answering, removed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xelm
from tests.xelm.adding import NEW_WORDS, OLD, contents, copy_of, models_of, new_text, train_tiny
from tests.xelm.conftest import sentences
from tests.xelm.test_prune import make_model, make_tokenizer
from xelm.models.rows import put_rows
from xelm.run.experts import ExpertSet
from xelm.vocabulary import own
from xelm.vocabulary.own import read_vocabulary
from xelm.vocabulary.pieces.learn import extended, learn_pieces
from xelm.vocabulary.pieces.words import words_of
from xelm.vocabulary.rows.frequency import as_frequent, listening
from xelm.vocabulary.rows.new_rows import mean_weights, similar_weights
from xelm.vocabulary.tokenizer_table import fresh_backend, pieces_of, table_of

GREEK = [f"{' '.join(NEW_WORDS['ell'].split()[i % 9 : i % 9 + 6])}, {i} ναι." for i in range(80)]
OLD_TEXT = [text.rsplit(" ", 1)[0] for code in OLD for text in sentences(code, 20, seed=3)]
TOKENS = 512
WAYS = {"mean", "mean+frequency", "similar", "similar+frequency"}


def _words(table: dict[str, Any], texts: list[str]) -> Counter[str]:
    return words_of(fresh_backend(table), texts)


@pytest.mark.parametrize("kind", ["byte-level", "bpe", "unigram", "wordpiece"])
def test_new_pieces_shorten_the_new_text_and_change_no_other(kind: str) -> None:
    table = table_of(make_tokenizer(kind))
    learned = learn_pieces(table, _words(table, GREEK), 150)
    assert 30 <= len(learned) <= 150
    grown = extended(table, learned, len(learned))
    old, new = fresh_backend(table), fresh_backend(grown)
    assert list(pieces_of(grown).items())[: len(pieces_of(table))] == list(pieces_of(table).items())
    for text in OLD_TEXT:
        assert new.encode(text).ids == old.encode(text).ids
    before, after = (sum(len(t.encode(text).ids) for text in GREEK) for t in (old, new))
    if kind == "byte-level":
        assert after < 0.5 * before
    for text in GREEK:
        assert new.token_to_id("<unk>") not in new.encode(text, add_special_tokens=False).ids
        whole = new.decode(new.encode(text, add_special_tokens=False).ids, skip_special_tokens=True)
        assert whole.replace(" ", "") == text.replace(" ", "")
        if kind in ("byte-level", "bpe", "unigram"):
            assert whole == text


@pytest.mark.parametrize("kind", ["byte-level", "unigram", "wordpiece"])
def test_fewer_pieces_are_the_first_of_more(kind: str) -> None:
    table = table_of(make_tokenizer(kind))
    learned = learn_pieces(table, _words(table, GREEK), 60)
    lengths = []
    for number in (0, 20, len(learned)):
        grown = extended(table, learned, number)
        assert len(pieces_of(grown)) == len(pieces_of(table)) + number
        lengths.append(sum(len(fresh_backend(grown).encode(text).ids) for text in GREEK))
    if kind == "byte-level":  # the others read letters as unknown until they have all of them
        assert lengths[2] < lengths[1] < lengths[0]


@pytest.mark.parametrize(
    ("tokens_a_word", "number"),
    [
        ([10, 4.0, 3.0, 2.6, 2.5], 40),  # 40 shorten by 13 %, 80 only by 4 %
        ([10, 4.0, 3.0, 2.9, 2.0], 20),  # 40 shorten by 3 %, so nothing further is looked at
        ([10, 6.0, 5.5, 5.1, 4.8], 80),  # each step shortens by a twentieth
        ([10, 9.9, 9.8, 9.7, 9.6], 10),  # nothing shortens much
    ],
)
def test_auto_goes_on_while_twice_as_many_pieces_shorten_text_by_a_twentieth(
    tokens_a_word: list[float], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter(tokens_a_word)
    monkeypatch.setattr(own, "SIZES", (10, 20, 40, 80))
    monkeypatch.setattr(own, "_tokens_a_word", lambda table, valid: next(values))
    record = own.own_vocabulary(tmp_path / "own", make_tokenizer("byte-level"), "auto", GREEK, GREEK, [3.0, 3.5, 9.0])
    assert record is not None
    assert record.new_pieces == number


def test_first_embeddings_are_means_of_known_ones() -> None:
    table = table_of(make_tokenizer("byte-level"))
    learned = learn_pieces(table, _words(table, GREEK), 40)
    for make in (mean_weights, similar_weights):
        weights = make(table, learned.pieces)
        assert weights.shape == (len(learned), max(pieces_of(table)) + 1)
        assert np.allclose(weights.sum(axis=1), 1)
    mean = mean_weights(table, learned.pieces[:1])
    cut = [token.id for token in fresh_backend(table).model.tokenize(learned.pieces[0])]
    assert sorted(set(cut)) == sorted(mean.nonzero()[1].tolist())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return train_tiny(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def grown(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with two languages that have their own pieces; no test changes it."""
    run = copy_of(finished, tmp_path_factory.mktemp("grown"))
    for code in ("ell", "swe"):
        # So little is learnt that no expert is so much better than the others that it answers alone.
        xelm.add_language(run, code, new_text(run.parent, code), tokens=TOKENS // 2, vocabulary=40)
    return run


def test_an_expert_has_its_tokenizer_with_it_and_no_other_file_of_a_model_changes(finished: Path, grown: Path) -> None:
    before, experts = ExpertSet.load(finished), ExpertSet.load(grown)
    assert models_of(finished, before.models) == models_of(grown, before.models)
    assert experts.verify() == []
    name = experts.plan.cluster_of("ell")
    record = read_vocabulary(experts.folder(name))
    assert record is not None
    assert record.fingerprint == experts.manifest.experts[name].vocabulary
    assert record.new_pieces == 40
    assert set(record.bits_per_byte) == {"before", "random", *WAYS}
    assert record.rows in WAYS
    assert len(experts.tokenizer(name)) == len(experts.tokenizer()) + 40
    text = "και το σπίτι είναι όμορφος"
    own, runs = experts.tokenizer(name), experts.tokenizer()
    assert len(own(text)["input_ids"]) < 0.7 * len(runs(text)["input_ids"])
    assert own.decode(own(text, add_special_tokens=False)["input_ids"]) == text
    model = experts.load_model(name)
    assert model.get_input_embeddings().num_embeddings == len(own)


def test_a_run_with_three_vocabularies_answers(grown: Path) -> None:
    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    texts = ["και το σπίτι δεν", "и не это дом", "och det är inte hus på kväll"]
    names = [lm.experts.plan.cluster_of(code) for code in ("ell", "rus", "swe")]
    assert [max(route.weights, key=lambda n: route.weights[n]) for route in lm.route(texts)] == names
    together = lm.score(texts, "top1", routing="text")
    assert [score.bytes for score in together] == [len(text.encode()) for text in texts]
    for text, name, score in zip(texts, names, together, strict=True):
        [alone] = lm.score([text], name)
        assert score.nats == pytest.approx(alone.nats, abs=1e-4)
        ids = lm.vocabularies.tokenizer(name)(text, add_special_tokens=False)["input_ids"]
        assert score.tokens == len(ids)
    answers = lm.generate(texts, "top1", max_new_tokens=6)
    for text, name, answer in zip(texts, names, answers, strict=True):
        assert lm.generate([text], name, max_new_tokens=6) == [answer]
        assert "".join(lm.stream(text, "top1", max_new_tokens=6)) == answer
    twice = lm.generate(texts, "top1", max_new_tokens=4, num_beams=2, num_return_sequences=2)
    assert len(twice) == 6


def test_the_expert_as_a_model_of_transformers_answers_alike(grown: Path) -> None:
    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    name, text = lm.experts.plan.cluster_of("ell"), "και το σπίτι"
    model, tokenizer = lm.as_causal_lm(name), lm.vocabularies.tokenizer(name)
    ids = tokenizer(text, return_tensors="pt")
    answer = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == lm.generate([text], name, max_new_tokens=6)[0]
    rest = lm.as_causal_lm("top1")
    rest(**lm.tokenizer("и не это", return_tensors="pt"))
    with pytest.raises(xelm.BadInput, match="pieces of their own"):
        rest(**lm.tokenizer("και το", return_tensors="pt"))


def test_experts_that_read_different_pieces_are_not_mixed_in_silence(grown: Path) -> None:
    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    for policy in ("ensemble", "bayes", "topm:3"):
        with pytest.raises(xelm.BadInput, match="Use top1, or the name of one expert"):
            lm.generate(["12345 67"], policy, max_new_tokens=2)
    assert len(lm.generate(["12345 67"], "top1", max_new_tokens=2)) == 1
    assert len(lm.score(["12345 67"], "top1")) == 1


def test_removing_in_any_order_brings_every_file_back(finished: Path, grown: Path, tmp_path: Path) -> None:
    run = copy_of(grown, tmp_path)
    xelm.remove_language(run, "ell")
    assert xelm.ExpertSet.load(run).verify() == []
    xelm.remove_language(run, "swe")
    ours = {name: digest for name, digest in contents(run).items() if not name.startswith(("cache/", "logs/"))}
    theirs = {name: digest for name, digest in contents(finished).items() if not name.startswith(("cache/", "logs/"))}
    assert ours == theirs


def test_auto_takes_few_pieces_and_none_where_none_are_needed(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    experts = xelm.add_language(run, "ell", new_text(tmp_path, "ell", 200), tokens=TOKENS, vocabulary="auto")
    record = read_vocabulary(experts.folder(experts.plan.cluster_of("ell")))
    assert record is not None
    assert record.aim is not None
    assert record.rate < record.tokens_a_word["0"]
    # Short Latin words cost no more single bytes than those of the run's languages.
    short = new_text(tmp_path, "swe", words="a bo ce du en fa gi ha il jo ka lo")
    experts = xelm.add_language(run, "swe", short, tokens=TOKENS, vocabulary="auto", believe_label=True)
    assert experts.vocabulary(experts.plan.cluster_of("swe")) is None


def test_a_language_that_branches_from_it_inherits_the_vocabulary(grown: Path, tmp_path: Path) -> None:
    run = copy_of(grown, tmp_path)
    donor = ExpertSet.load(run).plan.cluster_of("swe")
    experts = xelm.add_language(run, "pol", new_text(tmp_path, "pol"), tokens=TOKENS, donor=donor)
    name = experts.plan.cluster_of("pol")
    assert experts.vocabulary(name) == experts.vocabulary(donor)
    assert experts.verify() == []
    assert read_vocabulary(experts.folder(name)) == read_vocabulary(experts.folder(donor))


def test_blending_keeps_the_new_rows(grown: Path, tmp_path: Path) -> None:
    import torch

    run = copy_of(grown, tmp_path)
    name = ExpertSet.load(run).plan.cluster_of("ell")
    before = ExpertSet.load(run).load_model(name).get_input_embeddings().weight
    blended = xelm.blend(run, keep=0.5)
    after = blended.load_model(name).get_input_embeddings().weight
    base = blended.load_model("base").get_input_embeddings().weight
    old = len(base)
    assert torch.equal(after[old:], before[old:])
    assert torch.allclose(after[:old], (base + before[:old]) / 2, atol=1e-6)
    assert xelm.RoutedLM(blended, device="cpu").generate(["και το"], name, max_new_tokens=2)


def test_the_server_answers_with_every_vocabulary(grown: Path) -> None:
    from fastapi.testclient import TestClient

    from xelm.serving.app import make_app
    from xelm.serving.engine.engine import Engine

    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    texts = ["και το σπίτι δεν", "и не это", "och det är inte hus på"]
    with TestClient(make_app(Engine(lm))) as client:
        asked = {"model": "top1", "prompt": texts, "max_tokens": 5, "temperature": 0}
        answer = client.post("/v1/completions", json=asked)
        assert answer.status_code == 200, answer.text
        found = [choice["text"] for choice in sorted(answer.json()["choices"], key=lambda one: one["index"])]
        assert found == lm.generate(texts, "top1", max_new_tokens=5)
        mixed = client.post("/v1/completions", json=asked | {"model": "ensemble", "prompt": "12345 67"})
        assert mixed.status_code == 400
        assert "Use top1" in mixed.text


def test_adapters_train_the_new_rows_whole(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, expert={"kind": "lora", "rank": 2})
    experts = xelm.add_language(run, "ell", new_text(tmp_path, "ell"), tokens=TOKENS, vocabulary=40, donor="base")
    name = experts.plan.cluster_of("ell")
    assert experts.manifest.experts[name].kind == "lora"
    base, model = experts.load_model("base"), experts.load_model(name)
    old = base.get_input_embeddings().weight
    merged = model.merge_and_unload().get_input_embeddings().weight
    assert merged.shape[0] == old.shape[0] + 40
    assert (merged[: len(old)] == old).all()
    assert merged[len(old) :].abs().sum(dim=1).min() > 0
    lm = xelm.RoutedLM(experts, device="cpu", languages="run")
    assert len(lm.generate(["και το σπίτι", "der Morgen"], "top1", max_new_tokens=3)) == 2
    again = xelm.add_language(run, "swe", new_text(tmp_path, "swe"), tokens=TOKENS, vocabulary=20, donor="deu")
    assert again.verify() == []
    xelm.export(run, name, tmp_path / "plain")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert plain.get_input_embeddings().num_embeddings == len(AutoTokenizer.from_pretrained(tmp_path / "plain"))


def test_padded_rows_are_used_before_the_model_grows(tmp_path: Path) -> None:

    tokenizer = make_tokenizer("bpe")
    for kind in ("causal-tied", "causal-untied"):
        model = make_model(kind, len(tokenizer) + 50, tokenizer)
        import torch

        rows: dict[str, Any] = {"input": torch.ones(20, 32)}
        if kind == "causal-untied":
            rows["output"] = 2 * torch.ones(20, 32)
        put_rows(model, len(tokenizer), rows)
        assert model.get_input_embeddings().num_embeddings == len(tokenizer) + 50
        head = model.get_output_embeddings().weight[len(tokenizer) : len(tokenizer) + 20]
        assert (head == (2 if kind == "causal-untied" else 1)).all()


def test_what_a_vocabulary_cannot_do_is_said(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    file = new_text(tmp_path, "ell")
    with pytest.raises(xelm.BadInput, match="vocabulary"):
        xelm.add_language(run, "ell", file, vocabulary=0)
    with pytest.raises(xelm.BadInput, match="vocabulary='many'"):
        xelm.add_language(run, "ell", file, vocabulary="many")  # type: ignore[arg-type]
    with pytest.raises(xelm.BadInput, match="an expert of its own"):
        xelm.add_language(run, "ell", file, vocabulary=20, as_="join", donor="deu")
    with pytest.raises(xelm.BadInput, match="replay"):
        xelm.add_language(run, "ell", file, vocabulary=20, replay=0.2)
    assert json.loads((run / "xelm.json").read_text())["ledger"] == []


def test_mixtures_over_bytes_sum_to_one_and_cost_no_more_than_any_expert(grown: Path) -> None:
    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    texts = ["12 και", "και το σπίτι", "huset är 7", "…"]
    for policy in ("ensemble", "bayes"):
        assert np.allclose(lm.next_bytes(texts, policy).sum(axis=1), 1, atol=1e-6)
    weights_BK = lm.weights(texts, "bayes")
    together = lm.score(texts, "bayes", routing="text")
    for k, name in enumerate(lm.names):
        for text, weights_K, score in zip(texts, weights_BK, together, strict=True):
            if weights_K[k] > 0:
                assert score.nats <= lm.score([text], name)[0].nats - np.log(weights_K[k]) + 1e-6
    assert [score.bytes for score in together] == [len(text.encode()) for text in texts]
    assert [score.tokens for score in together] == [len(text.encode()) for text in texts]
    for policy in ("top1", "ensemble", "bayes"):
        for score in lm.score(texts, policy):  # by the weights of the text before each token
            assert 0 < score.bits_per_byte < 16


def test_causal_scores_change_experts_where_the_text_does(grown: Path) -> None:
    """Stretch by stretch: the sum of what each stretch's expert gives after the text before it."""
    from router.scoring.growing import GrowingWeights
    from xelm.inference.completions import prompt_ids

    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    text, own = "και το huset", lm.experts.plan.cluster_of("ell")
    ids = prompt_ids([text], lm.tokenizer)[0]
    place = len(prompt_ids(["και το "], lm.tokenizer)[0]) - 1
    weights = np.zeros((2, len(lm.names)))
    weights[0, lm.names.index(own)] = weights[1, lm.names.index("base")] = 1
    [found] = lm.scorer("top1").growing([text], [GrowingWeights((0, place), weights)], [ids])
    first = lm.score(["και το "], own)[0]
    second = lm.score(["huset"], "base", prefix="και το ")[0]
    assert -found.sum() == pytest.approx(first.nats + second.nats, rel=1e-6)
    assert len(found) == first.tokens + second.tokens


def test_next_bytes_are_what_the_tokens_say(grown: Path) -> None:
    """Of single bytes as tokens, the next byte is the next token."""
    import torch

    lm = xelm.RoutedLM.from_pretrained(grown, device="cpu", languages="run")
    text = "der Tag"
    ids = lm.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        probs_V = lm.models.get("base")(ids).logits[0, -1].double().softmax(-1).numpy()
    pieces = table_of(lm.tokenizer)["model"]["vocab"]
    letter = probs_V[pieces["e"]]
    kept = [index for piece, index in pieces.items() if len(piece) == 1] + [lm.tokenizer.eos_token_id]
    assert lm.next_bytes([text], "base")[0, ord("e")] == pytest.approx(letter / probs_V[kept].sum(), rel=1e-5)


@pytest.mark.parametrize("kind", ["causal-tied", "causal-untied", "masked"])
def test_shifted_rows_are_scored_as_often_as_they_occur(kind: str) -> None:
    import torch

    model, old, new = make_model(kind, 60, make_tokenizer("bpe")).eval(), 40, 20
    counts = np.arange(new) ** 2
    ids_BT = torch.randint(0, 60, (4, 16), generator=torch.Generator().manual_seed(1))
    head = model.get_output_embeddings().weight
    for _ in range(1 if kind == "causal-untied" else 4):  # a tied row is an input too
        _, heard = listening(model, old, old + new, lambda: model(input_ids=ids_BT))
        with torch.no_grad():
            head[old:] = as_frequent(head[old:], heard, counts, others=50)
    logits, heard = listening(model, old, old + new, lambda: model(input_ids=ids_BT).logits)
    assert heard.others == pytest.approx(logits[..., :old].logsumexp(-1).mean().item(), rel=1e-5)
    wanted = heard.others + np.log((counts + 0.5) / 50)
    assert heard.new.tolist() == pytest.approx(wanted.tolist(), abs=1e-4 if kind == "causal-untied" else 0.1)
    if kind != "masked":
        given_BTH = model.model(input_ids=ids_BT).last_hidden_state
        assert heard.size == pytest.approx(given_BTH.abs().sum(-1).mean().item(), rel=1e-5)
