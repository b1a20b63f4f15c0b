"""Points: what text, clusters and plans are about. A language, or where several scripts of it are told apart a language
in one script, written `srp_Latn`.

A point keeps its script only among points that need it: `swh_Latn` alone is `swh`, while `srp_Latn` and `srp_Cyrl`
together are two points. Facts that do not depend on the script (family, place, typology) are those of the language.
"""

from __future__ import annotations

from functools import lru_cache


def code_of(point: str) -> str:
    """The language of a point, ISO 639-3."""
    return point.partition("_")[0]


def script_of(point: str) -> str | None:
    """The script of a point (ISO 15924); None if it is not told apart."""
    return point.partition("_")[2] or None


def in_script(code: str, script: str | None) -> str:
    """The point of a language in a script; of the language alone for None."""
    return code if script is None else f"{code}_{script}"


@lru_cache(maxsize=256)
def script_name(script: str) -> str:
    """English name of a script (`Cyrl` -> `Cyrillic`)."""
    from langcodes import Language

    return str(Language.make(script=script).script_name())
