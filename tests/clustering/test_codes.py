"""Codes: everything usual resolves, the same language is recognised, typos get suggestions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clustering.errors import BadInput
from clustering.languages.codes import (
    UnknownLanguageError,
    match,
    name_of,
    resolve,
    same_language_codes,
    to_code,
    to_codes,
)


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
