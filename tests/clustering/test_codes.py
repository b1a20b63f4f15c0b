"""Codes: everything usual resolves, the same language is recognised, typos get suggestions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clustering.errors import BadInput
from clustering.languages import iso
from clustering.languages.codes import (
    UnknownLanguageError,
    language,
    match,
    name_of,
    resolve,
    same_language_codes,
    to_code,
    to_codes,
)
from clustering.languages.registry import members_of_collections, registry


@pytest.mark.parametrize(
    ("text", "code", "script", "name"),
    [
        ("sw", "swa", None, "Swahili"),
        ("swh", "swh", None, "Swahili"),
        ("swh_Latn", "swh", "Latn", "Swahili"),
        ("Swahili", "swa", None, "Swahili"),
        ("arb_Arab", "arb", "Arab", "Standard Arabic"),
        ("zh-Hant", "zho", "Hant", "Chinese"),
        ("zh-yue", "yue", None, "Cantonese"),
        ("pt-BR", "por", None, "Portuguese"),
        ("ger", "deu", None, "German"),
        ("scottish gaelic", "gla", None, "Scottish Gaelic"),
        ("Deutsch", "deu", None, "German"),
        ("iw", "heb", None, "Hebrew"),
        ("fil", "fil", None, "Filipino"),
        ("TL", "tgl", None, "Tagalog"),
        ("hbs", "hbs", None, "Serbo-Croatian"),
        (" nob ", "nob", None, "Norwegian Bokmål"),
    ],
)
def test_resolve_takes_codes_tags_and_names(text: str, code: str, script: str | None, name: str) -> None:
    language = resolve(text)
    assert (language.code, language.script, language.name) == (code, script, name)


@pytest.mark.parametrize("folder", ["sib200", "bible", "progit"])
def test_every_language_of_the_corpora_resolves_to_its_own_code(shared: Path, folder: str) -> None:
    files = sorted((shared / folder).glob("*.jsonl.gz"))
    assert files
    for file in files:
        label = file.name.split(".")[0]
        language = resolve(label)
        assert language.code == label[:3]
        assert language.name != language.code


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("Germann", "German (deu)"),
        ("swhh", "Swahili"),
        ("egn", "English (eng)"),
        ("Swahli", "Swahili"),
        ("de-XYZQ", "deu"),
    ],
)
def test_a_typo_gets_the_right_suggestion(text: str, suggestion: str) -> None:
    with pytest.raises(UnknownLanguageError) as caught:
        resolve(text)
    assert suggestion in str(caught.value)


@pytest.mark.parametrize("text", ["", "xx", "gmw", "und", "qaa", "zxx", "en_US.txt", "12", "en-", "the language"])
def test_what_is_no_single_language_is_refused(text: str) -> None:
    with pytest.raises(UnknownLanguageError, match="Unknown language"):
        resolve(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("swa", "swh"), ("ara", "arb"), ("zho", "cmn"), ("aze", "azj"), ("lav", "lvs"), ("est", "ekk"),
        ("fas", "pes"), ("mlg", "plt"), ("mon", "khk"), ("ori", "ory"), ("pus", "pbt"), ("msa", "zsm"),
        ("zlm", "zsm"), ("fil", "tgl"), ("nor", "nob"), ("ron", "mol"),
    ],
)  # fmt: skip
def test_macrolanguage_and_usual_member_match_both_ways(one: str, other: str) -> None:
    assert match(one, ["deu", other]) == other
    assert match(other, [one, "deu"]) == one
    assert other in same_language_codes(one)


@pytest.mark.parametrize(
    ("one", "other"), [("yue", "zho"), ("azb", "aze"), ("nno", "nor"), ("twi", "aka"), ("deu", "nld")]
)
def test_different_languages_do_not_match(one: str, other: str) -> None:
    assert match(one, [other]) is None


def test_match_prefers_the_exact_code_and_returns_entries_as_they_stand() -> None:
    assert match("sw", ["swh_Latn", "Swahili"]) == "Swahili"
    assert match("swh", ["swa", "swh_Latn"]) == "swh_Latn"


def test_to_codes_refuses_the_same_language_twice() -> None:
    assert to_codes(["de", "Dutch"]) == ["deu", "nld"]
    with pytest.raises(BadInput, match="'sw' and 'swh' both mean Swahili"):
        to_codes(["sw", "de", "swh"])


def test_names_are_english_and_unknown_codes_name_themselves() -> None:
    assert name_of("ory") == "Odia"
    assert name_of("xyzzy") == "xyzzy"
    assert to_code("Odia") == "ori"


def test_importing_codes_loads_no_tables() -> None:
    code = "import sys, clustering.languages.codes; assert not {'langcodes', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("Dari", "prs"), ("Montenegrin", "cnr"), ("Western Punjabi", "pnb"), ("Congo Swahili", "swc")),
        *(("Ho-Chunk", "win"), ("aka-bea", "abj"), ("Aka-Cari", "aci"), ("Mon", "mnw"), ("Dimli", "diq")),
        *(("Swahili (individual language)", "swh"), ("Persian, Afghan", "prs"), ("Scottish_Gaelic", "gla")),
    ],
)
def test_an_exact_name_of_one_language_wins_over_tags_and_macrolanguages(name: str, code: str) -> None:
    assert to_code(name) == code


def test_every_unique_english_name_comes_back_as_its_own_code() -> None:
    codes = [code for code, known in iso.languages().items() if known.scope != "special"]
    names: dict[str, list[str]] = {}
    for code in codes:
        names.setdefault(name_of(code), []).append(code)
    unique = {name: found[0] for name, found in names.items() if len(found) == 1}
    assert len(unique) > 7_875
    assert {name: to_code(name) for name in unique} == unique
    # The rest are pairs of a macrolanguage and the member that bears its name.
    shared = {"Dogri", "Konkani", "Malay", "Nepali", "Odia", "Swahili"}
    assert {name for name in names if name not in unique} == shared
    assert {code for code in codes if to_code(iso.languages()[code].name) != code} == {"ory"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(
            ("中文", "zho"),
            ("русский", "rus"),
            ("日本語", "jpn"),
            ("العربية", "ara"),
            ("हिन्दी", "hin"),
            ("한국어", "kor"),
        ),
        *(("ไทย", "tha"), ("ລາວ", "lao"), ("粵語", "yue"), ("ᏣᎳᎩ", "chr"), ("Français", "fra"), ("Türkçe", "tur")),
    ],
)
def test_languages_answer_to_their_own_names_in_their_scripts(name: str, code: str) -> None:
    assert language(name) == code


@pytest.mark.parametrize("tag", ["cbk-zam", "eng-deu", "swa_kin", "eng-spa", "de-XYZQ", "en-ZZZ", "zh-min", "deu-yue"])
def test_a_tag_with_parts_that_are_not_registered_for_it_is_refused(tag: str) -> None:
    with pytest.raises(UnknownLanguageError, match="Unknown language"):
        language(tag)


@pytest.mark.parametrize(
    ("tag", "code"),
    [("zho_yue", "yue"), ("ar-arz", "arz"), ("sgn-ase", "ase"), ("zh-min-nan", "nan"), ("sr_Latn_RS", "srp")],
)
def test_registered_extended_languages_scripts_and_regions_are_read(tag: str, code: str) -> None:
    assert language(tag) == code


@pytest.mark.parametrize("text", ["ber", "afa", "Berber", "Sorbian languages", "sgn", "BNT"])
def test_a_collection_is_told_with_languages_of_it(text: str) -> None:
    with pytest.raises(
        UnknownLanguageError, match=r"is a collection \(.*\)\. Name a language of it, such as \w.* \(\w{3}\)"
    ):
        language(text)


@pytest.mark.parametrize("code", ["mul", "mis", "und", "ZXX"])
def test_a_code_of_no_one_language_is_told_as_such(code: str) -> None:
    with pytest.raises(
        UnknownLanguageError, match=r"for text of no one language \(\w.*\)\. Name the language"
    ) as caught:
        language(code)
    assert "Did you mean" not in str(caught.value)


def test_every_collection_has_examples_that_are_languages() -> None:
    assert set(members_of_collections()) == set(registry().collections)
    assert all(to_code(code) == code for members in members_of_collections().values() for code in members)


def test_a_retired_code_is_told_and_read_as_its_one_successor(caplog: pytest.LogCaptureFixture) -> None:
    assert language("fri") == "fry"
    assert "fri (Western Frisian) is retired since 2005; now fry (Western Frisian)" in caplog.text


@pytest.mark.parametrize(
    ("code", "now"), [("bhk", ["ubl", "lbl", "rbl", "fbl"]), ("flm", ["rnl", "cfm"]), ("eml", ["egl", "rgn"])]
)
def test_a_retired_code_with_several_successors_is_refused_with_them(code: str, now: list[str]) -> None:
    with pytest.raises(UnknownLanguageError, match="is retired since") as caught:
        language(code)
    assert all(f"({new})" in str(caught.value) for new in now)


def test_every_retired_code_is_refused_or_read_as_a_code_in_use() -> None:
    for code in iso.retired():
        try:
            assert to_code(code) in iso.languages()
        except UnknownLanguageError as error:
            assert "retired" in str(error)


def test_a_short_name_that_is_a_code_too_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert [language("mon"), language("MON"), language(" Fas")] == ["mon", "mon", "fqs"]
    assert "'Fas' is read as the name of Fas (fqs); for Persian (fas) write fas" in caplog.text
