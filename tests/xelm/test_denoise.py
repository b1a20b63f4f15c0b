"""Span corruption: its arithmetic, against a naive one, and runs of encoder-decoder experts from base to answer."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clustering.errors import BadInput
from tests.xelm.conftest import sentences
from tests.xelm.interrupting import assert_interruption_leaves_no_trace
from tests.xelm.seq2seq import gap_tokenizer, save_mt5
from xelm.evaluation.evaluate import evaluate_on
from xelm.inference.routed import RoutedLM
from xelm.making.train import train
from xelm.objectives.denoise import DenoiseBatches
from xelm.objectives.gaps.batch import GapBatch
from xelm.objectives.gaps.scores import denoise_log_probs
from xelm.objectives.gaps.sentinels import filled, gap_ids
from xelm.objectives.gaps.spans import composition, corrupted_lengths, covering_spans, noise_of, random_spans
from xelm.objectives.objective import IGNORED, OBJECTIVES
from xelm.recipe.recipe import Recipe, Train
from xelm.run.experts import ExpertSet
from xelm.serving.engine.engine import Engine

END, PAD, SENTINELS = 1, 0, tuple(range(900, 1000))


# Raffel et al. 2020: 568 tokens become 512 of input and 114 of target (`random_spans_helper` of their code).
@pytest.mark.parametrize(
    ("tokens", "noise", "spans", "inputs", "targets"),
    [
        *[(568, 85, 28, 512, 114), (0, 0, 0, 1, 1), (1, 0, 0, 2, 1), (2, 1, 1, 3, 3), (7, 1, 1, 8, 3)],
        *[(10, 2, 1, 10, 4), (20, 3, 1, 19, 5), (100, 15, 5, 91, 21), (1024, 154, 51, 922, 206)],
    ],
)
def test_numbers_and_lengths_are_those_of_t5(tokens: int, noise: int, spans: int, inputs: int, targets: int) -> None:
    assert noise_of(tokens) == (noise, spans)
    assert corrupted_lengths(tokens) == (inputs, targets)


def test_every_way_to_cut_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    found = Counter(tuple(composition(rng, 6, 3).tolist()) for _ in range(5000))
    assert set(found) == {ways for ways in itertools.product(range(1, 5), repeat=3) if sum(ways) == 6}
    assert max(found.values()) / min(found.values()) < 1.3


@pytest.mark.parametrize("length", [*range(2, 40), 300])
def test_spans_have_the_right_number_and_never_touch(length: int) -> None:
    noise, number = noise_of(length)
    spans = random_spans(np.random.default_rng(length), length)
    assert (sum(stop - start for start, stop in spans), len(spans)) == (noise, number)
    edges = list(itertools.chain.from_iterable(spans))
    assert all(one < other for one, other in itertools.pairwise(edges)), "a kept token stands between spans"
    assert edges[0] >= 0 and edges[-1] <= length


def test_every_place_of_a_text_is_left_out_as_often_as_another() -> None:
    rng, counts = np.random.default_rng(0), np.zeros(12)
    for _ in range(3000):
        for start, stop in random_spans(rng, 12):
            counts[start:stop] += 1
    assert set(map(tuple, (random_spans(rng, 3) for _ in range(200)))) == {((0, 1),), ((1, 2),), ((2, 3),)}
    inner = counts[1:-1]  # a span of two tokens reaches the ends half as often
    assert inner.max() / inner.min() < 1.2 and min(counts[0], counts[-1]) > 0


def test_the_spans_of_a_score_cover_the_text() -> None:
    for length in range(1, 60):
        spans = covering_spans(np.random.default_rng(1), length)
        assert [token for start, stop in spans for token in range(start, stop)] == list(range(length))
        assert len(spans) == max(1, round(length / 3))
    assert covering_spans(np.random.default_rng(1), 0) == []


def _batches(sentinels: tuple[int, ...] = SENTINELS, seed: int = 3) -> DenoiseBatches:
    return DenoiseBatches(sentinels, (END, PAD, *sentinels), (END,), PAD, seed)


def _blocks(number: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of a document that goes on from the block before, one of 30 tokens, and one that is cut off."""
    ids = np.random.default_rng(0).integers(10, 800, (number, 64))
    lengths = (15, 32, 17)
    ids[:, 14], ids[:, 15], ids[:, 46], ids[:, 47] = END, END, END, END
    return ids, np.tile(np.concatenate([np.arange(length) for length in lengths]), (number, 1))


def _naive(row: list[int], target: list[int]) -> list[int]:
    """Put the spans of a target back into an input, in the plainest way."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in SENTINELS:
            spans[current := token] = []
        elif token != END:
            spans[current].append(token)
    return [token for piece in row for token in (spans[piece] if piece in SENTINELS else [piece])]


def test_input_and_target_together_are_the_documents() -> None:
    ids, positions = _blocks()
    batch = _batches().batch(ids, positions, np.arange(4), 0.0)
    for row in range(4):
        inputs = batch.input_ids[row][batch.attention_mask[row] == 1].tolist()
        target = batch.labels[row][batch.labels[row] != IGNORED].tolist()
        documents = [ids[row, :14], ids[row, 16:46], ids[row, 48:]]
        assert _naive(inputs, target) == [token for d in documents for token in [*d.tolist(), END]]
        numbers = [noise_of(len(document)) for document in documents]
        assert len(inputs) == sum(corrupted_lengths(len(document))[0] for document in documents)
        assert len(target) == sum(noise + spans for noise, spans in numbers) + 1
        assert [token for token in target if token in SENTINELS] == list(SENTINELS[: sum(s for _, s in numbers)])
        assert target[-1] == END
    assert batch.num_targets == int((batch.labels != IGNORED).sum())


def test_gaps_hang_on_the_draw_alone_so_that_a_resumed_training_has_the_same() -> None:
    ids, positions = _blocks()
    whole = _batches().batch(ids, positions, np.arange(4), 0.0)
    part = _batches().batch(ids[2:], positions[2:], np.array([2, 3]), 0.7)
    for number, row in enumerate((2, 3)):
        assert np.array_equal(_plain(whole.labels[row]), _plain(part.labels[number]))
    again = _batches().batch(ids[:1], positions[:1], np.array([9]), 0.0)
    assert not np.array_equal(_plain(again.labels[0]), _plain(whole.labels[0])), "a block read again has other gaps"
    other = _batches(seed=4).batch(ids, positions, np.arange(4), 0.0)
    assert not np.array_equal(_plain(other.labels[0]), _plain(whole.labels[0]))


def _plain(labels: np.ndarray) -> np.ndarray:
    return labels[labels != IGNORED]


def test_more_gaps_than_sentinels_leave_a_random_choice() -> None:
    ids, positions = _blocks(200)
    batch = _batches(sentinels=SENTINELS[:2]).batch(ids, positions, np.arange(200), 0.0)
    used = np.isin(batch.labels, SENTINELS).sum(axis=1)
    assert (used == 2).all()
    behind = sum(bool(np.isin(_plain(labels), row[48:]).any()) for labels, row in zip(batch.labels, ids, strict=True))
    assert 60 < behind < 180, "the last document is not always the one that loses its gap"


def test_a_block_of_nothing_but_boundaries_has_no_target() -> None:
    batch = _batches().batch(np.full((2, 8), END), np.zeros((2, 8), dtype=int), np.arange(2), 0.0)
    assert batch.num_targets == 0 and batch.attention_mask.any(axis=1).all()


def test_the_loss_is_that_of_transformers_on_every_row_alone(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    model = AutoModelForSeq2SeqLM.from_pretrained(save_mt5(tmp_path / "base")).eval()
    inputs, targets = [[5, 6, 7, 260, 1], [9, 260, 1]], [[260, 11, 1], [260, 12, 13, 14, 1]]
    batch = GapBatch.of(inputs, targets, PAD)
    with torch.no_grad():
        found = float(batch.summed_loss(model, isolated=False, device=torch.device("cpu")))
        alone = [
            float(model(input_ids=torch.tensor([i]), labels=torch.tensor([t])).loss) * len(t)
            for i, t in zip(inputs, targets, strict=True)
        ]
    assert found == pytest.approx(sum(alone), rel=1e-5)


def test_a_t5_without_a_start_token_begins_with_its_padding() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    from router.encoder_decoder import decoder_start
    from router.generation import generate_ids
    from router.mixture.experts import MixedExperts
    from router.models.pool import ExpertPool

    torch.manual_seed(0)
    config = T5Config(vocab_size=280, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=3)
    model = T5ForConditionalGeneration(config).eval()
    batch = GapBatch.of([[5, 260, 1]], [[260, 11, 1]], 3)
    assert batch.inputs(model, torch.device("cpu"))["decoder_input_ids"].tolist() == [[3, 260, 11]]
    assert decoder_start(model, 2, [260]).tolist() == [[3, 260], [3, 260]]
    experts = MixedExperts(["t5"], ExpertPool({"t5": lambda: model}))
    options = {"pad_token_id": 3, "first_tokens": [260], "max_new_tokens": 4, "do_sample": False}
    answers = [
        generate_ids(ids, np.ones((len(ids), 1)), experts, **options) for ids in ([[5, 1], [6, 7, 8, 1]], [[5, 1]])
    ]
    assert answers[0][0] == answers[1][0] and 0 < len(answers[0][0][0]) <= 4


def test_a_score_is_the_naive_one_and_counts_every_token_once(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    tokenizer = gap_tokenizer()
    model = AutoModelForSeq2SeqLM.from_pretrained(save_mt5(tmp_path / "base")).eval()
    texts = ["Das Haus ist groß.", "", "дом", "x", "Wasser " * 12]
    found = denoise_log_probs(model, texts, tokenizer, context=40)
    assert [len(values) for values in found] == [len(text.encode()) for text in texts]
    assert all((values < 0).all() for values in found)
    assert np.allclose(found[0], denoise_log_probs(model, texts[:1], tokenizer, context=40)[0], atol=1e-5)
    assert np.allclose(found[2], _naive_score(model, tokenizer, texts[2]), atol=1e-5)


def _naive_score(model: Any, tokenizer: Any, text: str) -> list[float]:
    """One gap at a time: a short text has no more spans than there are groups."""
    import zlib

    ids, end = tokenizer(text, add_special_tokens=False)["input_ids"], [tokenizer.eos_token_id]
    sentinel, values = tokenizer.convert_tokens_to_ids("<extra_id_0>"), []
    for start, stop in covering_spans(np.random.default_rng(zlib.crc32(text.encode())), len(ids)):
        inputs = torch.tensor([[*ids[:start], sentinel, *ids[stop:], *end]])
        decoder = torch.tensor([[model.config.decoder_start_token_id, sentinel, *ids[start:stop]]])
        with torch.no_grad():
            logits = model(input_ids=inputs, decoder_input_ids=decoder).logits[0].log_softmax(-1)
        values += [float(logits[1 + place, token]) for place, token in enumerate(ids[start:stop])]
    return values


def test_a_prompt_is_continued_and_gaps_are_filled_in_their_order() -> None:
    tokenizer = gap_tokenizer()
    first, second = tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_1>"])
    read = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    end = [tokenizer.eos_token_id]
    assert gap_ids("Das", tokenizer) == [*read("Das"), first, *end]
    assert gap_ids("", tokenizer) == [first, *end]
    with_gaps = gap_ids("Das <extra_id_4> ist <extra_id_2>.", tokenizer)
    assert with_gaps == [*read("Das "), first, *read(" ist "), second, *read("."), *end]
    assert filled(with_gaps, [first, *read("Haus"), second, *read("groß"), *end], tokenizer) == "Das Haus ist groß."
    assert filled(with_gaps, read("Haus"), tokenizer) == "Das Haus ist ."
    assert filled(gap_ids("Das", tokenizer), [*read(" Haus"), second, *read("x")], tokenizer) == " Haus"
    with pytest.raises(BadInput, match="has 11 gaps; the experts know 10"):
        gap_ids("<extra_id_0>" * 11, tokenizer)


def test_a_tokenizer_without_sentinels_is_refused() -> None:
    with pytest.raises(BadInput, match="needs a tokenizer with sentinels"):
        OBJECTIVES.find("denoise").batches(gap_tokenizer(sentinels=0), Train(tokens=1), "base")


def test_pruning_keeps_sentinels_that_are_ordinary_pieces() -> None:
    from xelm.pruning.keep import always_kept

    vocab = [["<unk>", 0.0], ["▁Haus", -3.0], ["▁<extra_id_0>", -4.0], ["▁Wasser", -9.0]]
    table = {"model": {"type": "Unigram", "unk_id": 0, "vocab": vocab}, "added_tokens": []}
    assert always_kept(table) == {0, 2, 3}, "the least likely piece sets what an unknown character costs"


def test_the_tokenizers_of_t5_and_byt5_have_gaps() -> None:
    from transformers import ByT5Tokenizer, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁Das", -2.0), ("▁ist", -2.0), ("▁Haus", -2.0)]
    for tokenizer in (ByT5Tokenizer(), T5Tokenizer(vocab=[*pieces, ("▁", -5.0)], extra_ids=4)):
        first, second = tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_1>"])
        ids = gap_ids("Das <extra_id_0> ist", tokenizer)
        assert ids.count(first) == 1 and second not in ids and ids[-1] == tokenizer.eos_token_id
        haus = tokenizer("Haus", add_special_tokens=False)["input_ids"]
        assert " ".join(filled(ids, [*haus, tokenizer.eos_token_id], tokenizer).split()) == "Das Haus ist"
        OBJECTIVES.find("denoise").batches(tokenizer, Train(tokens=1), "base")


@pytest.fixture
def seq2seq_recipe(tmp_path: Path, tiny_recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Three experts and dense from a small mT5."""

    def make(kind: str = "full", tokenizer: str = "byte", **settings: Any) -> Recipe:
        base = tmp_path / "base"
        if not base.exists():
            save_mt5(base, tokenizer)
        keys = {"tokens": 3072, "sequence_length": 64, "learning_rate": 1e-2, "objective": "denoise", **settings}
        return tiny_recipe(
            base={"new": None, "model": str(base)},
            data={"heldout_bytes": 400},
            clusters={"k": 3},
            train=keys,
            expert={"kind": kind, "rank": 2},
        )

    return make


@pytest.mark.parametrize(("kind", "tokenizer"), [("full", "byte"), ("lora", "bpe")])
def test_experts_and_dense_train_are_evaluated_routed_and_generate(
    tmp_path: Path, seq2seq_recipe: Callable[..., Recipe], kind: str, tokenizer: str
) -> None:
    experts = train(seq2seq_recipe(kind, tokenizer), tmp_path / "run")
    assert len(experts.names) == 3 and experts.models[1] == "dense"
    result = experts.result("test")
    assert result is not None and sorted(result.routed) == ["ensemble", "top1"] and result.routing == "text"
    assert set(result.models) == {"base", "dense", *experts.names}
    cell = result.models["base"]["deu"]
    assert cell.tokens == sum(
        len(experts.tokenizer()(d.text, add_special_tokens=False)["input_ids"])
        for d in experts.heldout("test", ["deu"])
    )
    for code in ("deu", "rus"):
        own = result.models[experts.plan.cluster_of(code)][code]
        assert own.bits_per_byte < result.models["base"][code].bits_per_byte, "an expert learns its language"
    assert (experts.path / "report.html").is_file()
    _check_answers(RoutedLM.from_pretrained(experts.path), experts)


def _check_answers(lm: RoutedLM, experts: ExpertSet) -> None:
    assert lm.route(["вечер и утро"])[0].language == "rus"
    prompts = ["Das Haus ist", "дом и", "", "Das <extra_id_0> ist <extra_id_1>."]
    together = lm.generate(prompts, max_new_tokens=6, do_sample=False)
    assert together == [lm.generate([prompt], max_new_tokens=6, do_sample=False)[0] for prompt in prompts]
    assert together[3].startswith("Das ") and " ist " in together[3] and "extra_id" not in "".join(together)
    name = experts.plan.cluster_of("deu")
    assert lm.generate(prompts[:1], name, max_new_tokens=6) == [_by_hand(experts, name, prompts[0])]
    pieces = list(lm.stream("Das Haus ist", max_new_tokens=6, do_sample=False))
    assert "".join(pieces) == together[0]
    beams = lm.generate(prompts[:2], num_beams=2, num_return_sequences=2, max_new_tokens=4)
    assert len(beams) == 4
    scores = lm.score(["Das Haus", ""], "ensemble")
    assert scores[0].nats > 0 and scores[0].bytes == 8 and scores[1].nats == 0
    route = replace(lm.route(["Das Haus"])[0], weights=dict.fromkeys(experts.names[:2], 0.5))
    refusals: list[tuple[str, Callable[[], Any]]] = [
        ("answer one at a time", lambda: lm.complete_ids([[5, 1]], [route], "ensemble", max_new_tokens=2)),
        ("as_causal_lm needs causal experts", lambda: lm.as_causal_lm()),
        ("next_bytes needs causal experts", lambda: lm.next_bytes(["Das"])),
        ("probe needs causal experts", lambda: lm.probe(["Das"])),
        ("a score with prefix, spans or options needs", lambda: lm.score(["Das"], prefix="Haus")),
        ("its weights follow a text from left to right", lambda: lm.score(["Das"], "bayes")),
        ("streams need an answer that grows", lambda: list(lm.stream("Das <extra_id_0> ist"))),
        ("stop texts need an answer that grows", lambda: lm.generate(["<extra_id_0> ist"], stop_strings=["."])),
        ("a server needs causal experts", lambda: Engine(lm)),
    ]
    for message, ask in refusals:
        with pytest.raises(BadInput, match=message):
            ask()


def _by_hand(experts: ExpertSet, name: str, prompt: str) -> str:
    """As a user of transformers would ask the expert."""
    model, tokenizer = experts.load_model(name), experts.tokenizer()
    sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
    ids = [*tokenizer(prompt, add_special_tokens=False)["input_ids"], sentinel, tokenizer.eos_token_id]
    start = [model.config.decoder_start_token_id, sentinel]
    output = model.generate(
        input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([start]), max_new_tokens=6, do_sample=False
    )
    return filled(ids, output[0, 2:].tolist(), tokenizer)


def test_an_interrupted_training_ends_as_an_undisturbed_one(
    tmp_path: Path, seq2seq_recipe: Callable[..., Recipe]
) -> None:
    recipe = seq2seq_recipe(tokens=4096, checkpoint_every_steps=2, dense=False)
    assert_interruption_leaves_no_trace(recipe, tmp_path, step=4)


def test_a_causal_base_is_refused(tiny_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(BadInput, match=r'objective = "denoise" needs a denoise model as \[base\] model'):
        tiny_recipe(train={"objective": "denoise"})


def test_a_run_of_such_experts_can_be_evaluated_on_other_text(
    tmp_path: Path, seq2seq_recipe: Callable[..., Recipe]
) -> None:
    from tests.xelm.conftest import write_jsonl

    experts = train(seq2seq_recipe(tokens=768, dense=False), tmp_path / "run", report=False)
    write_jsonl(tmp_path / "other" / "deu.jsonl", list(sentences("deu", 3, seed=5)))
    result = evaluate_on(experts, str(tmp_path / "other"))
    assert result.models["base"]["deu"].documents == 3
