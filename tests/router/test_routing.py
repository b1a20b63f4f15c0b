"""Texts to routes, and spans of mixed text to languages and scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from clustering.errors import BadInput
from router.identify.combined import CombinedIdentifier
from router.identify.langid import LangidIdentifier
from router.identify.open import OpenIdentifier
from router.identify.spans import Span, segment
from router.letters import plain_letters, utf8_bytes
from router.mixture.experts import MixedExperts
from router.routes.affinity import typological_distances
from router.routes.route import route_openly, route_texts, weights_of
from router.routes.weigh import ExpertWeigher
from router.scoring.spans import score_spans
from router.scoring.texts import score_texts
from tests.router.corpora import texts
from tests.router.tiny import BYTE_VOCABULARY, byte_tokenizer, llama

LANGUAGES = {"deu": "deu", "rus": "rus", "tur": "tur", "jpn": "jpn"}
PLAN = {"west": ["deu"], "east": ["rus", "tur", "jpn"]}


@pytest.fixture(scope="module")
def identifier(shared):
    return CombinedIdentifier.train({code: texts(shared, "progit", code, "train", 40) for code in LANGUAGES})


@pytest.fixture(scope="module")
def weigher(identifier):
    return ExpertWeigher(PLAN, identifier.languages)


def test_routes_follow_the_language_and_come_in_order(identifier, weigher):
    routes = route_texts(["Der Hund läuft nach Hause.", "Собака бежит домой.", "", "😀"], identifier, weigher)
    assert [r.language for r in routes] == ["deu", "rus", None, None]
    assert routes[0].weights["west"] > 0.9 and routes[1].weights["east"] > 0.9
    assert routes[2].confidence == routes[3].confidence == 0
    weights, abstained = weights_of(routes, ["east", "west"])
    assert np.allclose(weights.sum(1), 1) and weights[1, 0] > 0.9
    assert not abstained.any()
    assert route_texts([], identifier, weigher) == []
    assert weights_of([], ["east", "west"])[0].shape == (0, 2)


def test_lone_surrogates_and_foreign_text_do_not_pass_for_certain(identifier, weigher):
    broken, greek = route_texts(["Der Hund \ud800 läuft", "Καλημέρα σας, τι κάνετε;"], identifier, weigher)
    assert broken.language == "deu" and broken.confidence > 0.5
    assert greek.confidence < 0.3


def test_identifiers_without_familiarity_work_too(weigher):
    plain = LangidIdentifier(["deu", "rus", "tur", "jpn"])
    assert route_texts(["Собака бежит домой."], plain, weigher)[0].language == "rus"
    with pytest.raises(BadInput, match="the identifier's languages"):
        route_texts(["a"], LangidIdentifier(["deu"]), weigher)


SPANISH = "El perro corre hoy muy rápido hacia su casa porque tiene hambre."
GREEK = "Ο σκύλος τρέχει σήμερα πολύ γρήγορα προς το σπίτι του."


@pytest.fixture(scope="module")
def open_weigher(identifier):
    opened = OpenIdentifier(identifier)
    return opened, ExpertWeigher(PLAN, opened.languages, distances=typological_distances)


def test_a_language_that_no_expert_owns_is_named_and_goes_to_the_nearest(identifier, weigher, open_weigher):
    opened, everywhere = open_weigher
    own = ["Der Hund läuft nach Hause.", "Собака бежит домой.", "", "😀", "犬は今日とても速く家に走ります。"]
    routes = route_openly([SPANISH, *own, GREEK], opened, weigher, lambda: everywhere)
    assert [r.language for r in routes] == ["spa", "deu", "rus", None, None, "jpn", "ell"]
    assert routes[0].weights["west"] > 0.5 and routes[0].confidence > 0.8
    assert routes[0].reason.startswith("Spanish (spa), ")
    assert routes[0].reason.endswith("% sure. No expert was trained on it; west is nearest by typology.")
    # The run's own languages, and text without any, go exactly as without the others.
    assert routes[1:-1] == route_texts(own, identifier, weigher)
    assert all(sum(r.weights.values()) == pytest.approx(1) for r in routes)


def test_typology_is_asked_for_only_when_a_foreign_text_comes(weigher, open_weigher):
    def forbidden():
        raise AssertionError("no text needed it")

    opened, _ = open_weigher
    assert route_openly(["Der Hund läuft nach Hause."], opened, weigher, forbidden)[0].language == "deu"
    assert route_openly([], opened, weigher, forbidden) == []
    with pytest.raises(AssertionError, match="no text needed it"):
        route_openly([SPANISH], opened, weigher, forbidden)


def test_a_language_without_typology_still_gets_a_route():
    distances = typological_distances(["deu", "zba", "nld", "rus"])
    assert np.isnan(distances[1, [0, 2, 3]]).all() and distances[0, 2] < distances[0, 3]
    weights = ExpertWeigher(PLAN, ["zba", "spa"], distances=typological_distances).weights(np.eye(2))
    assert np.allclose(weights.sum(1), 1) and weights[0, 0] == pytest.approx(0.5)


def test_mixed_text_is_cut_where_the_language_changes(identifier):
    parts = [
        "Der Hund läuft heute sehr schnell nach Hause. ",
        "Собака бежит сегодня очень быстро домой. ",
        "犬は今日とても速く家に走ります。",
    ]
    spans = segment("".join(parts), identifier)
    assert [s.language for s in spans] == ["deu", "rus", "jpn"]
    assert spans[0].stop == len(parts[0])
    assert abs(spans[1].stop - len(parts[0] + parts[1])) <= 2
    assert all(s.confidence > 0.8 for s in spans)


@pytest.mark.parametrize(
    "text", ["", " ", "ab", "12 34", "Der Hund\n\n läuft  12 \ud800 домой ", "長" * 40, "a" * 300, "\n—\tслово"]
)
def test_spans_cover_the_text_exactly(identifier, text):
    spans = segment(text, identifier)
    assert "".join(text[s.start : s.stop] for s in spans) == text
    assert all(s.stop > s.start for s in spans)
    assert all(a.language != b.language for a, b in pairwise(spans))
    if not plain_letters(text):
        assert [s.language for s in spans] in ([], [None])


def test_switch_cost_must_be_positive(identifier):
    with pytest.raises(BadInput, match="switch_cost=0"):
        segment("a b", identifier, switch_cost=0)


@pytest.mark.parametrize("dynamic", [False, True])
def test_span_scores_use_each_spans_expert_with_the_whole_context(dynamic):
    experts = {name: llama(seed, BYTE_VOCABULARY, 128) for seed, name in enumerate("ab")}
    tokenizer, text = byte_tokenizer(), "Hund собака end"
    everything = {
        n: score_texts([text], tokenizer, np.eye(2)[[i]], MixedExperts("ab", experts))[0] for i, n in enumerate("ab")
    }
    spans = [Span(0, 5, "deu", 1.0), Span(5, 15, "rus", 1.0)]
    one = score_spans([text], [spans], [np.eye(2)[[0, 0]]], tokenizer, MixedExperts("ab", experts, dynamic))[0]
    assert one.nats == pytest.approx(everything["a"].nats, abs=1e-6)
    mixed = score_spans([text], [spans], [np.eye(2)], tokenizer, MixedExperts("ab", experts, dynamic))[0]
    assert mixed.tokens == everything["a"].tokens and mixed.bytes == len(text.encode())
    swapped = score_spans([text], [spans], [np.eye(2)[::-1]], tokenizer, MixedExperts("ab", experts, dynamic))[0]
    assert mixed.nats + swapped.nats == pytest.approx(everything["a"].nats + everything["b"].nats, abs=1e-6)


def test_span_scores_refuse_what_does_not_fit():
    with pytest.raises(BadInput, match="fast tokenizer"):
        score_spans(["a"], [[Span(0, 1, "deu", 1.0)]], [np.ones((1, 1))], object(), MixedExperts(["a"], {}))
    with pytest.raises(BadInput, match="weights of 1 spans"):
        score_spans(["a"], [[Span(0, 1, "deu", 1.0)]], [np.ones((2, 1))], byte_tokenizer(), MixedExperts(["a"], {}))


def test_plain_letters_keep_marks_and_inner_apostrophes():
    assert plain_letters("Q’AQA, 'tis 12 नमस्ते 😀 e\u0301\ud800") == "q'aqa tis नमस्ते é"
    assert utf8_bytes("a\ud800\U0001f600") == "a\ufffd😀".encode()
