"""Noise of the web is cleaned away before any identifier reads a text; what is in no language is doubted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router.cleaning.clean import clean, clean_letters
from router.cleaning.doubt import certainty
from router.identify.combined import CombinedIdentifier
from router.identify.langid import LangidIdentifier
from router.identify.open import OpenIdentifier
from router.routes.route import route_texts
from router.routes.weigh import ExpertWeigher

STARTER = Path(__file__).resolve().parents[2] / "xelm" / "starter"
TEXTS = {
    code: [json.loads(row)["text"] for row in (STARTER / f"{code}.jsonl").read_text("utf-8").splitlines()[:150]]
    for code in ("deu", "nld", "ind", "rus", "spa")
}
ORDINARY = [
    "Der Hund läuft nach Hause, z. B. um 12:30 Uhr (oder später); dann schläft er.",
    "L'été est fini. Voilà ! « C'est la vie », dit-il - 3/4 des gens et/ou plus.",
    "น้ำในแม่น้ำใสมาก คำว่า",
    "Q'aqa, añu! Er sagte: „a < b“ und ging. Preis: 5 $.",
    "これは日本語の文章です。東京へ行きました。",
    "Ich mag C++ und Node.js sehr, das ist gut (wirklich).",
    'He said ("yes") and left; then = nothing else.',
]
NOISY = {
    '<p class="x">Guten Morgen 😀 https://example.org/a?b=c</p>': "guten morgen",
    "&lt;b&gt;Guten&nbsp;Morgen&lt;/b&gt; f&uuml;r alle": "guten morgen für alle",
    'title="Seite">Guten Morgen <div class="me': "guten morgen",
    "<script>var hello = 'world';</script>Guten Morgen": "guten morgen",
    "[Guten Morgen](http://a.de/b) ![x](y.png) [b]alle[/b]": "guten morgen x alle",
    "{{Infobox|name=foo}} [[Haus|Guten Morgen]]": "guten morgen",
    "RT @JohnDoe: Guten Morgen #fun :smile: http://t.co/AbC me@mail.org": "rt guten morgen",
    "#GutenMorgen @alle": "gutenmorgen alle",
    "def load_file(path):  # Guten Morgen alle\n    return path": "guten morgen alle",
    "<?php echo 'Guten Morgen alle'; ?>": "guten morgen alle",
    'print("Guten Morgen alle")': "guten morgen alle",
    "ｇｕｔｅｎ 𝐌𝐨𝐫𝐠𝐞𝐧 ﬁn": "guten morgen fin",
    "Gu\u00adten Mor\u2060gen": "guten morgen",
    "guuuuuten Morgeeeeen": "guuten morgeen",
    "GUTEN MORGEN": "guten morgen",
    "İSTANBUL GÜZEL": "istanbul güzel",
    "https://www.example.com/a/b": "",
    "😀🚀🇩🇪": "",
}


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_returned_as_it_is(text):
    assert clean(text) == text


@pytest.mark.parametrize(("text", "letters"), NOISY.items())
def test_what_is_in_no_language_goes(text, letters):
    assert clean_letters(text) == letters
    assert clean(clean(text)) == clean(text)


def test_long_texts_are_cleaned_too():
    assert clean_letters("<br>" * 1000 + "Guten Morgen") == "guten morgen"


@pytest.fixture(scope="module")
def identifier():
    return CombinedIdentifier.train(TEXTS)


@pytest.mark.parametrize("kind", ["combined", "ngram", "langid", "open"])
def test_every_identifier_reads_noisy_text_as_it_reads_clean_text(identifier, kind):
    made = {
        "combined": identifier,
        "ngram": identifier.ngram,
        "langid": LangidIdentifier(list(TEXTS)),
        "open": OpenIdentifier(identifier),
    }[kind]
    plain = "der hund läuft nach hause und das kind schläft"
    noisy = [
        f"😀🚀 {plain} ❤️",
        plain.upper(),
        f'<div class="content" id="english">{plain}</div>',
        f"{plain} https://www.example.com/the-best-things-of-the-year.html",
    ]
    wanted, found = made.posterior([plain])[0], made.posterior(noisy)
    assert np.abs(found - wanted).max() < 0.05


def test_one_list_of_languages_or_names_is_in_none():
    for text in (
        "English Deutsch Français Español Русский 日本語 한국어",
        "Dansk | Norsk | Svenska | Suomi",
        "xkcd zzzz qqqq wrtp",
        "qwertyuiop asdfgh",
        "фыва олдж",
        "EN DE FR IT",
        "Angela Merkel",
        "Rio de Janeiro",
        "Tokyo",
        "ñ",
        "Coca-Cola",
    ):
        assert certainty(text) < 0.5, text


def test_ordinary_text_and_words_of_one_script_are_not_doubted():
    for text in (
        "Guten Morgen, wie geht es Ihnen?",
        "das ist gut",
        "Das Haus ist groß.",
        "El español es una lengua romance",
        "これは日本語です",
        "Καλημέρα",
        "안녕하세요",
        "สวัสดี",
        "J'ai vu Angela Merkel hier",
        "мама мыла раму",
        "",
        "12 + 7",
    ):
        assert certainty(text) == 1.0, text


def test_doubt_lowers_the_confidence_and_no_weight(identifier):
    weigher = ExpertWeigher({code: [code] for code in TEXTS}, list(TEXTS))
    sentence, names = route_texts(["der hund läuft nach hause", "Hund Haus"], identifier, weigher)
    assert sentence.confidence > 0.9 and names.confidence < 0.5
    assert max(names.weights.values()) > 0.5
