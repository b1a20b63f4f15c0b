"""Latin spellings of languages whose text in a run is Cyrillic; writes spellings.json beside this file.

    python experiments/routing/spellings.py runs/progit --data ../shared/data
    pip install --no-deps --target catalogues django plone.app.locales wagtail django-allauth wtforms
    python experiments/routing/spellings.py runs/progit --data ../shared/data --catalogues catalogues

SIB-200's Serbian is turned into Latin letters one for one, Russian and Bulgarian by anyascii, and read by the
identifier of a run whose text of them is Cyrillic and which knows Slovene. The control is text that is in Latin letters
by right: the run's own Slovene, and Polish, Italian, Turkish. With catalogues (gettext files of programs, translated by
people), the messages in Latin Serbian, Croatian, Bosnian and Slovene of at least 30 characters.
"""

from __future__ import annotations

import argparse
import gettext
import json
import re
from collections import Counter
from pathlib import Path

import anyascii
from samples import cut, lines, read

from xelm.parts import CombinedIdentifier, write_json

LENGTHS = (20, 40, 80)
SURE = 0.5
LATIN = dict(zip("абвгдежзијклмнопрстћуфхцчшђ", "abvgdežzijklmnoprstćufhcčšđ", strict=True)) | {
    "љ": "lj", "њ": "nj", "џ": "dž",
}  # fmt: skip
CATALOGUES = {
    "slv, messages": ("sl",),
    "srp in Latin, messages": ("sr_Latn", "sr@Latn"),
    "hrv, messages": ("hr",),
    "bos, messages": ("bs",),
}
_PLACEHOLDER = re.compile(r"%\([^)]*\)[sdr]|%[sdr]|\$?\{[^}]*\}|<[^>]*>|&\w+;|\s+")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="A finished run with srp, slv, rus, bul, pol, ita, tur.")
    parser.add_argument("--data", type=Path, required=True, help="Folder with sib200/ and progit/.")
    parser.add_argument("--catalogues", type=Path, help="Folder of packages with gettext catalogues.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    identifier = CombinedIdentifier.load(options.run / "router")
    found = {name: answers(identifier, texts) for name, texts in sentences(options).items()}
    write_json(options.out, found)
    print(json.dumps(found, indent=1, ensure_ascii=False))


def sentences(options: argparse.Namespace) -> dict[str, list[str]]:
    """Name of a kind of text -> texts."""
    sib = read(options.data, "sib200", "test")
    kinds = {
        "srp in Latin": [to_latin(text) for text in sib["srp"]],
        "rus in Latin": [anyascii.anyascii(text) for text in sib["rus"]],
        "bul in Latin": [anyascii.anyascii(text) for text in sib["bul"]],
        "slv, the run's book": lines(read(options.data, "progit", "test"), 60, 500)["slv"],
        **{code: sib[code] for code in ("pol", "ita", "tur")},
    }
    if options.catalogues:
        kinds |= {name: messages(options.catalogues, folders) for name, folders in CATALOGUES.items()}
    return kinds


def to_latin(text: str) -> str:
    """Serbian in Cyrillic letters, in Latin ones."""
    latin = (LATIN.get(c.lower(), c.lower()) for c in text)
    return "".join(new.capitalize() if old.isupper() else new for old, new in zip(text, latin, strict=True))


def messages(catalogues: Path, folders: tuple[str, ...]) -> list[str]:
    """Translated messages of at least 30 characters, without placeholders and tags, each once."""
    texts = []
    for file in sorted(catalogues.glob("**/LC_MESSAGES/*.mo")):
        if file.parts[-3] not in folders:
            continue
        with file.open("rb") as stream:
            catalogue = vars(gettext.GNUTranslations(stream))["_catalog"]
        pairs = ((key, text) for key, text in catalogue.items() if key and isinstance(text, str) and text != key)
        texts += [" ".join(_PLACEHOLDER.sub(" ", text).split()) for _, text in pairs]
    return [text for text in dict.fromkeys(texts) if len(text) >= 30]


def answers(identifier: CombinedIdentifier, texts: list[str]) -> dict[str, dict[str, float]]:
    """Per cent of texts by the language that they are read as, those at least `SURE` and those less, by length."""
    found = {}
    for length in LENGTHS:
        part = cut({"": texts}, length)[""]
        posterior_BL, familiarity_B = identifier.identify(part)
        sure_B = posterior_BL.max(axis=1) * familiarity_B >= SURE
        names = [identifier.languages[best] for best in posterior_BL.argmax(axis=1)]
        counts = Counter(name if sure else f"{name}?" for name, sure in zip(names, sure_B, strict=True))
        shares = {name: round(100 * count / len(part), 1) for name, count in counts.most_common(4)}
        found[f"{length} characters"] = {"texts": len(part), **shares}
    return found


if __name__ == "__main__":
    main()
