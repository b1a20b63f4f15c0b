"""The IANA registry of language subtags, as langcodes ships it: collections, extended languages, namesakes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Registry:
    """The entries of the registry that no table of langcodes holds."""

    collections: dict[str, str]
    """Subtag of a group of languages -> its name (`ber` -> `Berber languages`)."""
    extended: dict[str, str]
    """Extended language -> the only subtag that it may follow (`yue` -> `zh`)."""
    namesakes: dict[str, str]
    """Member that bears its macrolanguage's name -> the macrolanguage (`swh` -> `sw`)."""
    grandfathered: dict[str, str]
    """Old complete tags in lower case -> the tag that replaces them (`zh-min-nan` -> `nan`), or "" if there is none."""


@lru_cache(maxsize=1)
def registry() -> Registry:
    """Read the registry (about 20 ms, once)."""
    import langcodes

    path = Path(langcodes.__file__).with_name("data") / "language-subtag-registry.txt"
    found = Registry({}, {}, {}, {})
    for record in path.read_text(encoding="utf-8").split("%%\n"):
        is_extended, is_old = record.startswith("Type: extlang"), record.startswith("Type: grandfathered")
        if not (is_extended or is_old or "Scope: collection" in record or "(individual language)" in record):
            continue
        fields = dict(line.split(": ", 1) for line in record.splitlines() if ": " in line)
        subtag = fields.get("Subtag", "")
        if is_extended:
            found.extended[subtag] = fields["Prefix"]
        elif is_old:
            found.grandfathered[fields["Tag"].lower()] = fields.get("Preferred-Value", "")
        elif "Scope" in fields:
            found.collections[subtag] = fields["Description"]
        elif "Macrolanguage" in fields:
            found.namesakes[subtag] = fields["Macrolanguage"]
    return found


@lru_cache(maxsize=1)
def members_of_collections() -> dict[str, tuple[str, ...]]:
    """Two or three well-known languages of each collection, to suggest in its place."""
    lines = Path(__file__).with_name("collections.tsv").read_text(encoding="utf-8").splitlines()
    return {code: tuple(members.split()) for code, members in (line.split("\t") for line in lines if line[0] != "#")}
