"""Any usual code, tag or English name of a language -> ISO 639-3; converted once, at the edge.

Tables come from langcodes (codes, macrolanguages) and language_data (names, loaded only when a name is
given or asked for). Import costs nothing; the first code costs about 40 ms, the first name about 60 ms more.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from clustering.errors import BadInput

# Corpora (FLORES, SIB-200, NLLB) label these by a member that no table calls the usual one.
_MORE_USUAL_MEMBERS = {"nob": "nor", "pbt": "pus"}
_NAME_SUFFIX = re.compile(r" \((?:individual|macro)[ -]?language\)$")
_SPECIAL_CODES = frozenset({"mis", "mul", "und", "zxx"})


class UnknownLanguageError(BadInput):
    """The text names no language; the message offers near ones."""


@dataclass(frozen=True)
class Language:
    """One language as the user meant it.

    Attributes:
        code: ISO 639-3, a macrolanguage where the user gave one (`sw` -> `swa`, `swh` stays `swh`).
        script: ISO 15924 (`Latn`), or None when the text did not say.
        name: English name.
    """

    code: str
    script: str | None
    name: str


def resolve(text: str) -> Language:
    """Find the language that a code, tag or English name means.

    Two and three letters are always read as a code (`Mon` is Mongolian; write `mnw` for the language Mon).

    Args:
        text: `sw`, `swa`, `swh_Latn`, `zh-Hant`, `pt-BR`, `ger`, `Scottish Gaelic`; case is ignored.

    Returns:
        The language, with the code as given (no member replaced by its macrolanguage or the reverse).

    Raises:
        UnknownLanguageError: If no language has this code or name; the message lists near ones.

    Example:
        >>> resolve("swh_Latn")
        Language(code='swh', script='Latn', name='Swahili')
    """
    code, script = _find(text)
    return Language(code, script, name_of(code))


def to_code(text: str) -> str:
    """ISO 639-3 code of any code, tag or English name; raises like `resolve`."""
    return _find(text)[0]  # without the name, whose tables take longer to load than all the others


def to_codes(texts: Iterable[str]) -> list[str]:
    """Codes of several languages, in order.

    Raises:
        UnknownLanguageError: If a text names no language.
        BadInput: If two texts mean the same language (`sw` and `swh`), since it would be counted twice.
    """
    texts = list(texts)
    codes = [to_code(text) for text in texts]
    first: dict[str, int] = {}
    for position, code in enumerate(codes):
        key = same_language_key(code)
        if key in first:
            given = f"{texts[first[key]]!r} and {texts[position]!r}"
            raise BadInput(f"{given} both mean {name_of(code)}: give each language once.")
        first[key] = position
    return codes


def match(text: str, among: Iterable[str]) -> str | None:
    """Find the entry of `among` that means the same language as `text`.

    A macrolanguage and its usual member are the same (`swa`/`swh`, `ara`/`arb`, `lav`/`lvs`); other members
    are not (`yue` does not match `zho`), nor are different languages of one family.

    Args:
        text: Code, tag or English name.
        among: Codes, tags or names; returned as they stand. An exact code wins over an equivalent one.

    Returns:
        The entry, or None if there is none.

    Raises:
        UnknownLanguageError: If `text` or an entry of `among` names no language.
    """
    code = to_code(text)
    entries = [(entry, to_code(entry)) for entry in among]
    for entry, other in entries:
        if other == code:
            return entry
    key = same_language_key(code)
    for entry, other in entries:
        if same_language_key(other) == key:
            return entry
    return None


@lru_cache(maxsize=8192)
def speakers_of(code: str) -> int:
    """About how many people speak a language, under the best known of its codes; 0 where Unicode's CLDR has none."""
    import langcodes

    return max(langcodes.Language.get(same).speaking_population() for same in same_language_codes(code))


@lru_cache(maxsize=8192)
def same_language_key(code: str) -> str:
    """The ISO 639-3 code that stands for `code` and for every code of the same language (`swh` -> `swa`)."""
    return _usual_members().get(code, code)


@lru_cache(maxsize=8192)
def same_language_codes(code: str) -> tuple[str, ...]:
    """All codes of the language, `code` first: `lvs` -> (`lvs`, `lav`)."""
    key = same_language_key(code)
    return (code, *sorted({key, *_members_of_key().get(key, ())} - {code}))


@lru_cache(maxsize=1)
def codes_with_relatives() -> frozenset[str]:
    """All codes that share their language with another code or belong to a macrolanguage."""
    members = {*_usual_members(), *_usual_members().values()}
    tables = _tables()
    return frozenset(members | {tables.LANGUAGE_ALPHA3.get(code, code) for code in tables.MACROLANGUAGES})


def macrolanguage_of(code: str) -> str | None:
    """ISO 639-3 code of the macrolanguage that `code` is a member of, or None (`pbu` -> `pus`)."""
    tables = _tables()
    macro = tables.MACROLANGUAGES.get(_alpha2().get(code, code))
    return None if macro is None else tables.LANGUAGE_ALPHA3.get(macro, macro)


@lru_cache(maxsize=16384)
def name_of(code: str) -> str:
    """English name of an ISO 639-3 code (`swh` -> `Swahili`); the code itself where no name is known."""
    from language_data.names import code_to_names

    for candidate in (_alpha2().get(code), code):
        name = code_to_names(candidate).get("en") if candidate else None
        if name:
            return _NAME_SUFFIX.sub("", name)
    return code


@lru_cache(maxsize=8192)
def _find(text: str) -> tuple[str, str | None]:
    """Code and script that a text means."""
    if not isinstance(text, str):
        raise UnknownLanguageError(f"A language is given as text (code or name), not {text!r}.")
    cleaned = text.strip()
    found = _parse_tag(cleaned) or _parse_name(cleaned)
    if found is None:
        raise UnknownLanguageError(_unknown_message(text))
    return found


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
    """ISO 639-3 of a language subtag of two or three letters, or None if it stands for no single language."""
    tables = _tables()
    if len(subtag) == 2:
        return tables.LANGUAGE_ALPHA3.get(subtag)
    if subtag in _alpha2():
        return subtag
    if subtag in _bibliographic():
        return _bibliographic()[subtag]
    if subtag in _SPECIAL_CODES or "qaa" <= subtag <= "qtz" or subtag in _registry()[0]:
        return None
    return subtag if tables.VALIDITY.match(subtag) else None


def _parse_tag(text: str) -> tuple[str, str | None] | None:
    head, *rest = re.split(r"[-_]", text)
    if not (2 <= len(head) <= 3 and head.isascii() and head.isalpha()):
        return None
    code = _to_alpha3(head.lower())
    if code is None or not rest:
        return None if code is None else (code, None)
    from langcodes import Language as Tag
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = Tag.get(text, normalize=False)
    except LanguageTagError:
        return None
    if tag.script is not None and not _tables().VALIDITY.match(tag.script):
        return None
    if tag.extlangs:  # zh-yue is Cantonese
        code = _to_alpha3(tag.extlangs[0]) or code
    return code, tag.script


def _parse_name(text: str) -> tuple[str, str | None] | None:
    from language_data.names import get_trie_value, normalize_name

    name = normalize_name(text.replace("_", " "))
    for key in (name, name.removesuffix(" language")):
        for trie in _name_tries():
            if len(key) > 3 and key in trie:
                return _parse_tag(get_trie_value(trie, key))
    return None


@lru_cache(maxsize=1)
def _name_tries() -> tuple[Any, Any]:
    """Exact names in English, then in any language (Deutsch, Kiswahili)."""
    from language_data.names import load_trie
    from language_data.util import data_filename

    return tuple(load_trie(data_filename(f"trie/{lang}/name_to_language.marisa")) for lang in ("en", "und"))


@lru_cache(maxsize=1)
def _registry() -> tuple[frozenset[str], dict[str, str]]:
    """From the IANA registry: codes of language groups, and members that bear their macrolanguage's name."""
    import langcodes

    path = Path(langcodes.__file__).with_name("data") / "language-subtag-registry.txt"
    collections: set[str] = set()
    namesakes: dict[str, str] = {}
    for record in path.read_text(encoding="utf-8").split("%%\n"):
        if "Scope: collection" not in record and "(individual language)" not in record:
            continue
        fields = dict(line.split(": ", 1) for line in record.splitlines() if ": " in line)
        subtag = fields.get("Subtag", "")
        if "Scope" in fields:
            collections.add(subtag)
        elif "Macrolanguage" in fields:
            namesakes[subtag] = fields["Macrolanguage"]
    return frozenset(collections), namesakes


@lru_cache(maxsize=1)
def _usual_members() -> dict[str, str]:
    """Usual member (or alias) -> the code that stands for the language, both ISO 639-3."""
    tables = _tables()
    normalized = tables.NORMALIZED_MACROLANGUAGES
    counts = Counter(normalized.values())
    # Two "usual" members (Twi and Fanti of Akan) are two languages: neither stands for the macrolanguage.
    pairs = {member: macro for member, macro in normalized.items() if counts[macro] == 1}
    pairs.update(_registry()[1])
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
    near = _near(text)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return (
        f"Unknown language {text!r}.{hint} "
        "Give an ISO 639 code (sw, swh), a tag (swh_Latn) or an English name (Swahili)."
    )


def _near(text: str, limit: int = 3) -> list[str]:
    head = re.split(r"[-_]", text.strip().lower())[0]
    codes: list[str] = []
    if len(head) <= 4:
        common = {*_alpha2(), *_tables().NORMALIZED_MACROLANGUAGES}
        codes = sorted(difflib.get_close_matches(head, sorted(common), n=20, cutoff=0.6), key=_closeness(head))
        if (parsed := _parse_tag(head)) is not None:  # the tag is wrong further on
            codes.insert(0, parsed[0])
    else:
        from language_data.names import get_trie_value, normalize_name

        trie = _name_tries()[0]
        for name in difflib.get_close_matches(normalize_name(text), trie.keys(), n=2 * limit, cutoff=0.7):
            if (parsed := _parse_tag(get_trie_value(trie, name))) is not None:
                codes.append(parsed[0])
    by_name = {name_of(code): code for code in reversed(codes)}
    return [f"{name} ({code})" for name, code in reversed(by_name.items())][:limit]


def _closeness(head: str) -> Callable[[str], tuple[bool, bool, str]]:
    """Sort key: swapped letters first, then the same first letter, then the alphabet."""
    return lambda code: (sorted(code) != sorted(head), code[0] != head[0], code)
