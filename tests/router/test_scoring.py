"""Scores do not depend on batches, padding or windows, and equal a naive float64 reference for every policy."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from clustering.errors import BadInput
from router.mixture.experts import MixedExperts
from router.routes.policy import apply_policy, parse_policy
from router.scoring.texts import Score, encode, score_sequences, score_texts
from router.scoring.tokens import ScoringOptions, context_of, token_log_probs
from router.scoring.windows import Window, batches, windows_of
from tests.router.tiny import (
    BYTE_VOCABULARY,
    VOCABULARY,
    byte_tokenizer,
    gpt2,
    llama,
    naive_log_probs,
    naive_mixture,
    naive_probs,
    random_weights,
)

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def experts():
    return {name: make(seed) for seed, (name, make) in enumerate(zip(NAMES, (llama, gpt2, llama), strict=True))}


@pytest.fixture(scope="module")
def byte_experts():
    return {name: llama(seed, BYTE_VOCABULARY, 256) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def references(experts):
    """200 random texts and, of each, every expert's probabilities in float64 without cache."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 50, size=200)
    sequences = [generator.integers(3, VOCABULARY, size=length).tolist() for length in lengths]
    return [(tokens, naive_probs(list(experts.values()), tokens)) for tokens in sequences]


@pytest.mark.parametrize("policy", ["top1", "topm:2", "ensemble", "bayes", "b"])
def test_scores_equal_naive_reference_for_every_policy(experts, references, policy):
    weights = apply_policy(random_weights(np.random.default_rng(1), len(references), 3), policy, NAMES)
    dynamic = parse_policy(policy, NAMES).dynamic
    sequences = [tokens for tokens, _ in references]
    found = score_sequences(sequences, weights, MixedExperts(NAMES, experts, dynamic))
    for (tokens, probs), weights_K, log_probs in zip(references, weights, found, strict=True):
        want = naive_mixture(probs, weights_K, tokens, dynamic)[np.arange(len(tokens) - 1), tokens[1:]]
        assert log_probs.shape == want.shape
        assert np.abs(log_probs - want).max(initial=0) < 1e-4


def test_batch_limit_does_not_change_scores(experts):
    generator = np.random.default_rng(1)
    sequences = [generator.integers(3, VOCABULARY, size=n).tolist() for n in (3, 40, 17, 90, 2, 33)]
    wide = token_log_probs(experts["b"], sequences)
    narrow = token_log_probs(experts["b"], sequences, ScoringOptions(max_logits=VOCABULARY * 50))
    assert all(np.abs(w - n).max() < 1e-4 for w, n in zip(wide, narrow, strict=True))


def test_long_sequences_score_every_token_once_with_the_promised_context(experts):
    tokens = np.random.default_rng(2).integers(3, VOCABULARY, size=50).tolist()
    options = ScoringOptions(context=16, stride=4)
    found = token_log_probs(experts["a"], [tokens], options)[0]
    assert found.shape == (49,)
    for position in (5, 15, 16, 19, 30, 49):
        window = next(w for w in windows_of(0, 50, 16, 4) if w.first_scored <= position < w.stop)
        table = naive_log_probs([experts["a"]], [1.0], tokens[window.start : position], False)
        assert found[position - 1] == pytest.approx(table[-1, tokens[position]], abs=1e-4)
        assert position - window.start >= min(position, 16 - 4)


def test_bayes_weights_carry_over_windows(experts):
    tokens = np.random.default_rng(3).integers(3, VOCABULARY, size=60).tolist()
    options = ScoringOptions(context=20)
    weights = np.array([[0.5, 0.0, 0.5]])
    mixed = score_sequences([tokens], weights, MixedExperts(NAMES, experts, True), options)[0].sum()
    each = [token_log_probs(experts[name], [tokens], options)[0].sum() for name in "ac"]
    # The product of bayes' predictions is the prior-weighted sum of the experts' probabilities of the whole text.
    assert mixed == pytest.approx(np.logaddexp(*each) + math.log(0.5), abs=1e-9)


def test_texts_are_scored_from_the_start_token_and_counted_in_bytes(byte_experts):
    tokenizer = byte_tokenizer()
    texts = ["naïve", "", "日本", "broken \ud800 pair"]
    weights = np.tile([0.5, 0.25, 0.25], (4, 1))
    scores = score_texts(texts, tokenizer, weights, MixedExperts(NAMES, byte_experts))
    assert [s.bytes for s in scores] == [6, 0, 6, len("broken \ufffd pair".encode())]
    assert [s.tokens for s in scores] == [s.bytes for s in scores]  # a byte is a token here, the first one included
    assert scores[1].nats == 0 and math.isnan(scores[1].bits_per_byte) and math.isnan(scores[1].perplexity)
    ids = encode(["naïve"], tokenizer)[0]
    table = naive_log_probs(list(byte_experts.values()), weights[0], ids, False)
    assert scores[0].nats == pytest.approx(-table[np.arange(6), ids[1:]].sum(), abs=1e-3)
    assert scores[0].bits_per_byte == pytest.approx(scores[0].nats / math.log(2) / 6)


def test_without_a_start_token_the_first_token_is_context_only(byte_experts):
    score = score_texts(
        ["abc"],
        byte_tokenizer(),
        np.eye(3)[:1],
        MixedExperts(NAMES, byte_experts),
        options=ScoringOptions(add_prefix=False),
    )[0]
    assert score.tokens == 2


def test_experts_are_asked_for_only_where_they_have_weight(byte_experts):
    asked = []

    def get(name):
        asked.append(name)
        return byte_experts[name]

    score_texts(
        ["abc", "def"],
        byte_tokenizer(),
        np.array([[1.0, 0, 0], [0.4, 0, 0.6]]),
        MixedExperts(NAMES, SimpleNamespace(get=get)),
    )
    assert asked == ["a", "c"]


def test_a_hundred_kilobytes_are_scored_whole(byte_experts):
    small = llama(0, BYTE_VOCABULARY, 512)
    small.model.layers = small.model.layers[:1]
    small.config.num_hidden_layers = 1
    text = "abcdefgh " * 11_651
    score = score_texts([text], byte_tokenizer(), np.ones((1, 1)), MixedExperts(["a"], {"a": small}))[0]
    assert score.tokens == score.bytes == len(text)
    assert math.isfinite(score.nats)


def test_windows_partition_the_scored_tokens():
    for length in (0, 1, 2, 9, 10, 11, 37, 100):
        for context, stride in ((10, None), (10, 1), (10, 9), (2, 1)):
            scored = [t for w in windows_of(0, length, context, stride) for t in range(w.first_scored, w.stop)]
            assert scored == list(range(1, length))
            assert all(
                0 <= w.start < w.first_scored and w.stop - w.start <= context
                for w in windows_of(0, length, context, stride)
            )


def test_batches_keep_within_the_limit_but_never_lose_a_window():
    windows = [Window(row, 0, stop, 1) for row, stop in enumerate((5, 9, 2, 30, 7))]
    groups = list(batches(windows, 18))
    assert sorted(w.row for group in groups for w in group) == list(range(5))
    assert all(len(g) == 1 or len(g) * max(w.stop for w in g) <= 18 for g in groups)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: token_log_probs(e["a"], [[3, VOCABULARY]]), "does not fit a vocabulary"),
        (lambda e: token_log_probs(e["a"], [[3, 4]], ScoringOptions(context=1)), "context=1"),
        (lambda e: token_log_probs(e["a"], [[3, 4]], ScoringOptions(context=8, stride=8)), "stride=8"),
        (lambda e: score_sequences([[3, 4]], np.ones((1, 2)), MixedExperts(NAMES, e)), "weights have shape"),
    ],
)
def test_misuse_is_named(experts, call, message):
    with pytest.raises(BadInput, match=message):
        call(experts)


def test_context_is_the_models_own(experts):
    assert context_of(experts["a"]) == context_of(experts["b"]) == 96


def test_perplexity_is_per_token():
    assert Score(nats=2 * math.log(8), tokens=2, bytes=6).perplexity == pytest.approx(8)
