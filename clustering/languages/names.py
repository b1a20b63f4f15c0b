"""Names of languages: the English name of a code, and the code of a name in English or in the language itself.

An exact name of one language in ISO 639-3 wins over everything else. Then come the names that language_data has
collected (Unicode's CLDR, IANA, Wiktionary): the further names of ISO 639-3, English ones, and those of any language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from clustering.languages import iso
from clustering.languages.points import code_of, script_name, script_of
from clustering.languages.registry import registry

_SUFFIX = re.compile(r" \((?:individual|macro)[ -]?language\)$")
_SHORTEST = 4
"""Letters of a name in the Latin script; shorter ones are codes, unless they are written just like a name."""


@lru_cache(maxsize=16384)
def name_of(code: str) -> str:
    """English name of an ISO 639-3 code (`swh` -> `Swahili`); the code itself where no name is known.

    It is CLDR's name, or the standard's where CLDR calls the language by the standard's name of another one
    (`lah` is Lahnda: Western Panjabi is `pnb`). A language in a script is named with it (`Serbian (Latin)`).
    """
    from language_data.names import code_to_names

    if (script := script_of(code)) is not None:
        return f"{name_of(code_of(code))} ({script_name(script)})"

    for candidate in (_alpha2().get(code), code):
        name = code_to_names(candidate).get("en") if candidate else None
        if name:
            name = _SUFFIX.sub("", name)
            if _codes_by_reference_name().get(_key(name), code) == code:
                return name
    known = iso.languages().get(code) or iso.retired().get(code)
    return _SUFFIX.sub("", known.name) if known else code


def code_written_as_name(text: str) -> str | None:
    """Code of a name of one to three letters, if it is written exactly so in ISO 639-3 (`Mon` -> `mnw`)."""
    return _short_names().get(text)


def code_of_exact_name(text: str) -> str | None:
    """Code of the one language that ISO 639-3 gives this reference name; case and hyphens do not count."""
    key = _key(text)
    if len(key) < _SHORTEST and key.isascii():
        return None
    by_name = _codes_by_reference_name()
    for form in _forms(key):
        if form in by_name:
            return by_name[form]
    return None


def tags_of_name(text: str) -> Iterator[str]:
    """Codes or tags of a name in any language, by ISO 639-3's further names and language_data, the likeliest first."""
    english, any_language = _name_tries()
    for form in _forms(_key(text)):
        if len(form) < _SHORTEST and form.isascii():
            continue
        for table in (_codes_by_other_name(), english, _codes_by_bare_name(), any_language):
            if form in table:
                found = table[form]
                yield found if isinstance(found, str) else found[0].decode()


def english_names() -> Iterable[str]:
    """English names, as keys for `tags_of_name`, to look for near ones."""
    return {*_name_tries()[0].keys(), *_codes_by_reference_name()}


def _forms(key: str) -> Iterator[str]:
    """The name as it is, without `language`, and with other spellings put right (`western punjabi` -> `panjabi`)."""
    yield key
    yield (short := key.removesuffix(" language"))
    words = [_spellings().get(word, word) for word in short.split(" ")]
    if len(words) > 1 and " ".join(words) != short:
        yield " ".join(words)


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    """One-word names that are other names of one language -> its reference name (`punjabi` -> `panjabi`)."""
    by_name = _codes_by_reference_name()
    return {
        name: reference
        for name, code in _codes_by_other_name().items()
        if " " not in name and name not in by_name and " " not in (reference := _key(iso.languages()[code].name))
    }


@lru_cache(maxsize=1)
def _codes_by_reference_name() -> dict[str, str]:
    """Reference names -> code, without those of members that bear their macrolanguage's name (`Odia` is `ori`)."""
    namesakes = registry().namesakes
    return _unique(
        (code, known.name)
        for code, known in iso.languages().items()
        if known.scope != "special" and (code not in namesakes or _SUFFIX.search(known.name))
    )


@lru_cache(maxsize=1)
def _codes_by_bare_name() -> dict[str, str]:
    """Reference names without `(individual language)`, of one language each -> its code."""
    return _unique((code, _SUFFIX.sub("", known.name)) for code, known in iso.languages().items())


@lru_cache(maxsize=1)
def _codes_by_other_name() -> dict[str, str]:
    return _unique(
        (code, name) for code, names in iso.other_names().items() if code in iso.languages() for name in names
    )


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    codes: dict[str, set[str]] = {}
    for code, name in pairs:
        codes.setdefault(_key(name), set()).add(code)
    return {name: next(iter(found)) for name, found in codes.items() if len(found) == 1}


@lru_cache(maxsize=1)
def _short_names() -> dict[str, str]:
    """Names shorter than `_SHORTEST` as they are written, of one language each."""
    codes: dict[str, set[str]] = {}
    for code, language in iso.languages().items():
        for name in (language.name, name_of(code)):
            if len(name) < _SHORTEST:
                codes.setdefault(name, set()).add(code)
    return {name: next(iter(found)) for name, found in codes.items() if len(found) == 1}


@lru_cache(maxsize=1)
def _alpha2() -> dict[str, str]:
    from langcodes.data_dicts import LANGUAGE_ALPHA3

    return {three: two for two, three in LANGUAGE_ALPHA3.items() if len(two) == 2}


@lru_cache(maxsize=1)
def _name_tries() -> tuple[Any, Any]:
    """Names in English, then in any language (Deutsch, Kiswahili)."""
    from language_data.names import load_trie
    from language_data.util import data_filename

    return tuple(load_trie(data_filename(f"trie/{lang}/name_to_language.marisa")) for lang in ("en", "und"))


def _key(name: str) -> str:
    """As language_data writes the keys of its tries."""
    from language_data.names import normalize_name

    return str(normalize_name(unicodedata.normalize("NFC", name).replace("_", " ")))
