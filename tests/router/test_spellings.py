"""Text in another script than the run's own text of its language, such as Latin Serbian where the run's is Cyrillic."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cleaning.transliterate import register, transliterations
from router.identify.combined import CombinedIdentifier
from tests.router.corpora import texts

LATIN = dict(zip("абвгдежзијклмнопрстћуфхцчшђ", "abvgdežzijklmnoprstćufhcčšđ", strict=True))
LATIN |= {"љ": "lj", "њ": "nj", "џ": "dž"}
SLOVENE = """
Včeraj smo se z vlakom peljali do morja in tam ostali ves teden.
Babica je spekla kruh, dedek pa je pripovedoval zgodbe iz svoje mladosti.
Zaradi močnega dežja so morali tekmo prestaviti na naslednji dan.
Otroci se v šoli učijo brati, pisati in računati že od prvega razreda.
Na tržnici prodajajo sveže jagode, češnje in domači med.
Vlada je sprejela zakon, ki ureja varstvo narave v gorskih dolinah.
""".strip().split("\n")


@pytest.fixture(scope="module")
def identifier(shared: Path) -> CombinedIdentifier:
    """Of a run whose Serbian is Cyrillic, beside other Slavic languages, from one book."""
    return CombinedIdentifier.train(
        {code: texts(shared, "progit", code, "train", 25) for code in ("srp", "slv", "bul", "rus", "pol", "ita")}
    )


def to_latin(text: str) -> str:
    return "".join(LATIN.get(character, character) for character in text.lower())


def named(identifier: CombinedIdentifier, texts: list[str]) -> list[str]:
    posterior_BL, familiarity_B = identifier.identify(texts)
    sure_B = posterior_BL.max(axis=1) * familiarity_B >= 0.5
    best_B = posterior_BL.argmax(axis=1)
    return [identifier.languages[best] if sure else "" for best, sure in zip(best_B, sure_B, strict=True)]


def test_latin_serbian_is_not_slovene_and_slovene_is(identifier, shared):
    latin = [to_latin(text)[:80] for text in texts(shared, "sib200", "srp_Cyrl", "test", 150)]
    found = named(identifier, latin)
    assert found.count("srp") > 0.8 * len(found)
    assert found.count("slv") < 0.05 * len(found)
    assert set(named(identifier, SLOVENE)) == {"slv"}


def test_a_text_that_fits_two_spellings_alike_gets_doubt_instead_of_a_sure_answer(identifier):
    # Words that Serbian and Slovene share.
    posterior_BL, familiarity_B = identifier.identify(["moja mama ima novo hišo ili sta", "to je moja nova kuhinja"])
    assert (posterior_BL.max(axis=1) * familiarity_B < 0.9).all()


def test_text_in_the_script_of_its_language_is_read_as_it_stands(identifier, shared):
    for code, name in (("pol", "pol_Latn"), ("ita", "ita_Latn"), ("rus", "rus_Cyrl")):
        found = named(identifier, [text[:60] for text in texts(shared, "sib200", name, "test", 100)])
        assert found.count(code) >= 97, code


def test_registered_spellings_read_groups_of_letters_first():
    assert set(transliterations()) >= {"srp", "rus", "ukr", "bul"}
    assert transliterations()["srp"]("Đak džeza Ljubav njiva") == "ђак џеза љубав њива"


def test_a_spelling_can_be_added():
    register("zzz-test", {"sh": "ш", "s": "с", "h": "х"})
    try:
        assert transliterations()["zzz-test"]("Shs") == "шс"
    finally:
        del transliterations()["zzz-test"]  # type: ignore[attr-defined]
