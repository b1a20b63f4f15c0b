"""Any usual code, tag or name of a language -> ISO 639-3; converted once, at the edge.

Codes, their scopes and retirements come from ISO 639-3 itself (`iso`), macrolanguages and their usual members from
langcodes, names from both and language_data (`names`). Import costs nothing; the first code costs about 40 ms, the
first name about 60 ms more.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from clustering.errors import BadInput, refuse_text
from clustering.languages import iso, names
from clustering.languages.glottolog import code_of_glottocode, is_glottocode
from clustering.languages.names import name_of as name_of
from clustering.languages.points import code_of, in_script, script_of
from clustering.languages.registry import members_of_collections, registry

# Corpora (FLORES, SIB-200, NLLB) label these by a member that no table calls the usual one.
_MORE_USUAL_MEMBERS = {"nob": "nor", "pbt": "pus"}
_NONE_SUCH = "there is no such language. Give another code or a name."
log = logging.getLogger(__name__)


class UnknownLanguageError(BadInput):
    """The text names no language; the message offers near ones."""


@dataclass(frozen=True)
class Language:
    """One language as the user meant it.

    Attributes:
        code: ISO 639-3; a macrolanguage if the user gave one (`sw` -> `swa`, `swh` stays `swh`).
        script: ISO 15924 (`Latn`), or None if the text does not name it.
        name: English name.
    """

    code: str
    script: str | None
    name: str


def resolve(text: str) -> Language:
    """Find the language that a code, tag or name means.

    An exact name of one language wins over a tag (`Ho-Chunk` is no Hiri Motu). Two and three letters are a code,
    unless they are written just like a name (`mon` is Mongolian, `Mon` is the language Mon). A retired code with one
    successor is read as its successor, and this is logged.

    Args:
        text: `sw`, `swa`, `swh_Latn`, `zh-Hant`, `pt-BR`, `ger`, `Scottish Gaelic`, `Kiswahili` (case is ignored), or
            a Glottocode (`stan1295`).

    Returns:
        The language, with the code as given (no member replaced by its macrolanguage or the reverse).

    Raises:
        UnknownLanguageError: If no language has this code or name (the message lists near ones), the code stands for
            a collection of languages or for several since it was retired (the message names them), or the tag has
            parts that are not registered.

    Example:
        >>> resolve("swh_Latn")
        Language(code='swh', script='Latn', name='Swahili')
    """
    code, script = _find(text)
    return Language(code, script, name_of(code))


def to_code(text: str) -> str:
    """ISO 639-3 code of any code, tag or English name; raises like `resolve`."""
    return _find(text)[0]  # without the name, whose tables take longer to load than all the others


def language(name: str) -> str:
    """ISO 639-3 code of any code, tag or name of a language.

    Args:
        name: `sw`, `swa`, `swh_Latn`, `ger`, `Scottish Gaelic`, `русский`.

    Raises:
        BadInput: If no single language is meant; the message names near ones, or the members of a collection.

    Example:
        >>> language("Swahili"), language("German"), language("日本語")
        ('swa', 'deu', 'jpn')
    """
    return to_code(name)


def to_point(text: str) -> str:
    """The code of a language, with the script if the text names one (`srp_Latn`); raises like `resolve`."""
    return in_script(*_find(text))


def to_codes(texts: Iterable[str]) -> list[str]:
    """Codes of several languages, in order; with scripts where one language comes in several (`points_of`).

    Raises:
        UnknownLanguageError: If a text names no language.
        BadInput: If two texts mean the same language (`sw` and `swh`), since it would be counted twice, or `texts`
            is one text.
    """
    refuse_text("languages", texts)
    texts = list(texts)
    points = points_of(texts)
    first: dict[str, int] = {}
    for position, point in enumerate(points):
        key = same_language_key(point)
        if key in first:
            given = f"{texts[first[key]]!r} and {texts[position]!r}"
            raise BadInput(f"{given} both mean {name_of(point)}: give each language once.")
        first[key] = position
    return points


def points_of(texts: Sequence[str]) -> list[str]:
    """Points of several languages, in order: codes, and codes with scripts where one language comes in several.

    Raises:
        UnknownLanguageError: If a text names no language.
        BadInput: If a language comes in several scripts and once without one.

    Example:
        >>> points_of(["srp_Latn", "srp_Cyrl", "swh_Latn"])
        ['srp_Latn', 'srp_Cyrl', 'swh']
    """
    found = [_find(text) for text in texts]
    scripts: dict[str, set[str | None]] = {}
    for code, script in found:
        scripts.setdefault(same_language_key(code), set()).add(script)
    points = []
    for text, (code, script) in zip(texts, found, strict=True):
        others = {name for name in scripts[same_language_key(code)] if name is not None}
        if script is None and len(others) > 1:
            choices = " or ".join(in_script(code, name) for name in sorted(others))
            raise BadInput(f"{text!r}: {name_of(code)} is here in several scripts. Say which: {choices}.")
        points.append(in_script(code, script if len(others) > 1 else None))
    return points


def point_beside(text: str, others: Iterable[str]) -> str:
    """The point of one more language beside points that keep their scripts as they are.

    The script is kept only if another of the same language is there.
    """
    code, script = _find(text)
    key = same_language_key(code)
    apart = any(same_language_key(code_of(o)) == key and script_of(o) not in (None, script) for o in others)
    return in_script(code, script if apart else None)


def match(text: str, among: Iterable[str]) -> str | None:
    """Find the entry of `among` that means the same language as `text`.

    A macrolanguage and its usual member are the same (`swa`/`swh`, `ara`/`arb`, `lav`/`lvs`); other members
    are not (`yue` does not match `zho`), nor are different languages of one family. Where both name a script, it must
    be the same.

    Args:
        text: Code, tag or English name.
        among: Codes, tags or names; returned as they stand. An exact code wins over an equivalent one.

    Returns:
        The entry, or None if there is none.

    Raises:
        UnknownLanguageError: If `text` or an entry of `among` names no language.
    """
    code, script = _find(text)
    entries = [(entry, *_find(entry)) for entry in among]
    if script is not None:
        entries = [found for found in entries if found[2] in (None, script)]
        for entry, other, its in entries:
            if (other, its) == (code, script):
                return entry
    for entry, other, _ in entries:
        if other == code:
            return entry
    key = same_language_key(code)
    for entry, other, _ in entries:
        if same_language_key(other) == key:
            return entry
    return None


def rows_among(texts: Sequence[str], points: Sequence[str]) -> tuple[list[str], list[int]]:
    """Rows of languages among points, under any code of the same language.

    Args:
        texts: Codes, tags or names.
        points: Points of the rows.

    Returns:
        The points asked for, with a script where the rows tell scripts apart; the row of each, -1 if there is none.
    """
    row_of = {same_language_key(point): row for row, point in reversed(list(enumerate(points)))}
    row_of |= {point: row for row, point in enumerate(points)}  # an exact one has priority
    asked, rows = [], []
    for text in texts:
        point, code = to_point(text), to_code(text)
        if (row := row_of.get(point, row_of.get(same_language_key(point), -1))) >= 0:
            asked.append(point)
        else:
            asked.append(code)
            row = row_of.get(code, row_of.get(same_language_key(code), -1))
        rows.append(row)
    return asked, rows


@lru_cache(maxsize=8192)
def speakers_of(code: str) -> int:
    """Approximate number of speakers of a language, by the best known of its codes; 0 if Unicode's CLDR has none."""
    import langcodes

    return max(langcodes.Language.get(same).speaking_population() for same in same_language_codes(code))


@lru_cache(maxsize=8192)
def same_language_key(code: str) -> str:
    """The ISO 639-3 code that stands for `code` and for every code of the same language (`swh` -> `swa`); a script
    stays (`swh_Latn` -> `swa_Latn`)."""
    if (script := script_of(code)) is not None:
        return in_script(same_language_key(code_of(code)), script)
    return _usual_members().get(code, code)


@lru_cache(maxsize=8192)
def same_language_codes(code: str) -> tuple[str, ...]:
    """All codes of the language, `code` first (without its script): `lvs` -> (`lvs`, `lav`)."""
    code = code_of(code)
    key = same_language_key(code)
    return (code, *sorted({key, *_members_of_key().get(key, ())} - {code}))


def usual_member(code: str) -> bool:
    """Whether a code is what people usually mean by its macrolanguage (`swh`, `zsm`, `arb`)."""
    return _alpha2().get(code, code) in _tables().NORMALIZED_MACROLANGUAGES


@lru_cache(maxsize=1)
def codes_with_relatives() -> frozenset[str]:
    """All codes that share their language with another code or belong to a macrolanguage."""
    members = {*_usual_members(), *_usual_members().values()}
    tables = _tables()
    return frozenset(members | {tables.LANGUAGE_ALPHA3.get(code, code) for code in tables.MACROLANGUAGES})


def macrolanguage_of(code: str) -> str | None:
    """ISO 639-3 code of the macrolanguage that `code` is a member of, or None (`pbu` -> `pus`)."""
    code, tables = code_of(code), _tables()
    macro = tables.MACROLANGUAGES.get(_alpha2().get(code, code))
    return None if macro is None else tables.LANGUAGE_ALPHA3.get(macro, macro)


@lru_cache(maxsize=8192)
def _find(text: str) -> tuple[str, str | None]:
    """Code and script that a text means."""
    if not isinstance(text, str):
        raise UnknownLanguageError(f"A language is given as text (code or name), not {text!r}.")
    found = _read(text.strip())
    if found is None:
        raise UnknownLanguageError(_unknown_message(text))
    code, script = found
    return _in_use(code, text), script


def _read(text: str) -> tuple[str, str | None] | None:
    if len(text) <= 3 and text.isascii():
        is_code = text.islower() or (text.isupper() and len(text) > 1)
        if not is_code and (named := names.code_written_as_name(text)) is not None:
            _say_if_a_code_too(text, named)
            return named, None
        return _parse_tag(text)
    if is_glottocode(text):
        known = code_of_glottocode(text)
        return None if known is None else (known, None)
    if (named := names.code_of_exact_name(text)) is not None:
        return named, None
    if (tagged := _parse_tag(text)) is not None:
        return tagged
    return next((tagged for tag in names.tags_of_name(text) if (tagged := _parse_tag(tag))), None)


def _say_if_a_code_too(text: str, named: str) -> None:
    code = _to_alpha3(text.lower())
    if code is not None and code != named:
        log.warning(
            "%r is read as the name of %s (%s); for %s (%s) write %s",
            *(text, name_of(named), named, name_of(code), code, text.lower()),
        )


def _in_use(code: str, text: str) -> str:
    """The code, or the one that has replaced it."""
    gone = iso.retired().get(code)
    if gone is None:
        return code
    successors = _successors(gone)
    if len(successors) == 1:
        [new] = successors
        log.warning("%s (%s) is retired since %s; now %s (%s)", code, gone.name, gone.year, new, name_of(new))
        return new
    if not successors:
        raise UnknownLanguageError(
            f"{text!r}: the code {code} ({gone.name}) is retired since {gone.year}: {_NONE_SUCH}"
        )
    raise UnknownLanguageError(
        f"{text!r}: the code {code} ({gone.name}) is retired since {gone.year}; now {_named(successors)}. "
        "Give the one that you mean."
    )


def _successors(gone: iso.Retired) -> list[str]:
    """Codes in use that replace a retired one, through any that were retired in their turn."""
    found: dict[str, None] = {}
    waiting, seen = list(gone.successors), {gone.code}
    while waiting:
        code = waiting.pop(0)
        if code in iso.languages():
            found[code] = None
        elif code in iso.retired() and code not in seen:
            seen.add(code)
            waiting += iso.retired()[code].successors
    return list(found)


def _named(codes: Iterable[str]) -> str:
    return ", ".join(f"{name_of(code)} ({code})" for code in codes)


def _tables() -> Any:
    from langcodes import data_dicts

    return data_dicts


@lru_cache(maxsize=1)
def _alpha2() -> dict[str, str]:
    return {three: two for two, three in _tables().LANGUAGE_ALPHA3.items() if len(two) == 2}


@lru_cache(maxsize=1)
def _bibliographic() -> dict[str, str]:
    """ISO 639-2/B code -> ISO 639-3 (`ger` -> `deu`)."""
    tables = _tables()
    return {b: tables.LANGUAGE_ALPHA3[two] for two, b in tables.LANGUAGE_ALPHA3_BIBLIOGRAPHIC.items()}


def _to_alpha3(subtag: str) -> str | None:
    """ISO 639-3, in use or retired, of a language subtag of two or three letters; None if it is no single language."""
    if len(subtag) == 2:
        subtag = _tables().LANGUAGE_ALPHA3.get(subtag, "")
    elif subtag in _bibliographic():
        subtag = _bibliographic()[subtag]
    known = iso.languages().get(subtag)
    if known is not None:
        return None if known.scope == "special" else subtag
    return subtag if subtag in iso.retired() else None


def _parse_tag(text: str) -> tuple[str, str | None] | None:
    """Code and script of a tag all of whose parts are registered."""
    text = registry().grandfathered.get(text.lower(), text) if text.count("-") else text
    head, *rest = re.split(r"[-_]", text)
    if not (2 <= len(head) <= 3 and head.isascii() and head.isalpha()):
        return None
    code = _to_alpha3(head.lower())
    if not rest:
        return None if code is None else (code, None)
    from langcodes import Language as Tag
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = Tag.get(text, normalize=False)
    except LanguageTagError:
        return None
    if tag.extlangs:  # zh-yue is Cantonese
        code = _extended(head.lower(), tag.extlangs)
    for part in (tag.script, tag.territory, *(tag.variants or ())):
        if part is not None and not _tables().VALIDITY.match(part):
            return None
    return None if code is None else (code, tag.script)


def _extended(head: str, extended: Sequence[str]) -> str | None:
    """The extended language of a tag, if it is registered to follow this head (`zh-yue`, `zho-yue`, `sgn-ase`)."""
    [language, *more] = extended
    prefix = registry().extended.get(language)
    if more or prefix is None or head not in (prefix, _tables().LANGUAGE_ALPHA3.get(prefix)):
        return None
    return _to_alpha3(language)


@lru_cache(maxsize=1)
def _usual_members() -> dict[str, str]:
    """Usual member (or alias) -> the code that stands for the language, both ISO 639-3."""
    tables = _tables()
    normalized = tables.NORMALIZED_MACROLANGUAGES
    counts = Counter(normalized.values())
    # Two "usual" members (Twi and Fanti of Akan) are two languages: neither stands for the macrolanguage.
    pairs = {member: macro for member, macro in normalized.items() if counts[macro] == 1}
    pairs.update(registry().namesakes)
    # Retired and alias codes that CLDR replaces (tl -> fil, mo -> ro); `sh` -> `sr-Latn` is no such pair.
    pairs.update({old: new for old, new in tables.LANGUAGE_REPLACEMENTS.items() if "-" not in new})
    two_to_three = {two: three for three, two in _alpha2().items()}
    usual: dict[str, str] = {}
    for member, macro in pairs.items():
        old, new = two_to_three.get(member, member), two_to_three.get(macro, macro)
        if old != new:
            usual[old] = new
    usual.update(_MORE_USUAL_MEMBERS)
    return {member: usual.get(macro, macro) for member, macro in usual.items()}


@lru_cache(maxsize=1)
def _members_of_key() -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for member, key in _usual_members().items():
        members.setdefault(key, []).append(member)
    return members


def _unknown_message(text: str) -> str:
    cleaned = text.strip()
    head, *rest = re.split(r"[-_]", cleaned.lower())
    if (group := _collection(cleaned.lower())) is not None:
        examples = _named(members_of_collections().get(group, ()))
        return (
            f"Unknown language {text!r}: it is a collection ({registry().collections[group]}). Name a language of it, "
            f"such as {examples}."
        )
    known = iso.languages().get(cleaned.lower())
    if known is not None and known.scope == "special":
        return (
            f"Unknown language {text!r}: the code is for text of no one language ({known.name}). Name the language of "
            "the text."
        )
    if rest and len(head) <= 3 and (code := _to_alpha3(head)) is not None:
        return (
            f"Unknown language {text!r}: {'-'.join(rest)} is no registered script, region or extended language after "
            f"{head}. Did you mean {_named([code])}?"
        )
    if is_glottocode(cleaned):
        return f"Unknown language {text!r}: no language of Glottolog has this code (dialects and families have others)."
    near = _near(cleaned)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return (
        f"Unknown language {text!r}.{hint} "
        "Give an ISO 639 code (sw, swh), a tag (swh_Latn) or an English name (Swahili)."
    )


def _collection(text: str) -> str | None:
    """Subtag of the collection that a code or name means (`ber`, `berber`, `berber languages`)."""
    for subtag, name in registry().collections.items():
        whole = name.lower()
        if text in (subtag, whole, whole.removesuffix(" languages").removesuffix(" (family)")):
            return subtag
    return None


def _near(text: str, limit: int = 3) -> list[str]:
    head = re.split(r"[-_]", text.lower())[0]
    codes: list[str] = []
    if len(head) <= 4:
        common = {*_alpha2(), *_tables().NORMALIZED_MACROLANGUAGES}
        codes = sorted(difflib.get_close_matches(head, sorted(common), n=20, cutoff=0.6), key=_closeness(head))
    if len(text) > 4:
        for name in difflib.get_close_matches(text.casefold(), names.english_names(), n=2 * limit, cutoff=0.7):
            found = _read(name)
            codes += [] if found is None else [found[0]]
    by_name = {name_of(code): code for code in reversed(codes)}
    return [f"{name} ({code})" for name, code in reversed(by_name.items())][:limit]


def _closeness(head: str) -> Callable[[str], tuple[bool, bool, str]]:
    """Sort key: swapped letters first, then the same first letter, then the alphabet."""
    return lambda code: (sorted(code) != sorted(head), code[0] != head[0], code)
