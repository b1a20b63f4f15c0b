"""Make `clustering/languages/text.tsv`: which languages there is text of, by three kinds of evidence.

    python -m experiments.sources.make_text_table

* `cldr`: Unicode's CLDR 40 (2021, as language_data ships it) counts people who write the language, or names languages
  in it.
* `identifiers`: a label of langid.py 1.1.6 (97) or lingua 2.1 (75).
* `wikipedia`: an open edition of Wikipedia in May 2017, the list `languages_by_size` of Pywikibot's Wikipedia family
  (`wikipedia_editions.txt` beside this file, read 25 November 2026).

Codes are ISO 639-3, of individual languages: a macrolanguage counts for its usual member (`sw` for `swh`).
"""

from __future__ import annotations

from pathlib import Path

import langid.langid
import language_data.name_data
import language_data.population_data
import lingua
from iso639 import Language, LanguageNotFoundError

import clustering
from clustering import to_code
from xelm import BadInput
from xelm.parts import same_language_codes

# Names of editions that are no codes, and what they are written in.
_EDITIONS = {
    "simple": "eng",
    "als": "gsw",
    "bat-smg": "sgs",
    "be-tarask": "bel",
    "eml": "egl",
    "fiu-vro": "vro",
    "map-bms": "jav",
    "nds-nl": "nds",
    "nrm": "nrf",
    "roa-rup": "rup",
    "roa-tara": "nap",
    "zh-classical": "lzh",
    "bh": "bho",
    "cbk-zam": "cbk",
    "nah": "nhe",
    "no": "nob",
}


def main() -> None:
    """Write the table."""
    names = {key.split("-")[0] for key in language_data.population_data.LANGUAGE_WRITING_POPULATION}
    names |= {key.split("-")[0] for found in language_data.name_data.CODE_TO_NAMES.values() for key in found}
    model = langid.langid.LanguageIdentifier.from_modelstring(langid.langid.model)
    labels = {*model.nb_classes, *(language.iso_code_639_3.name.lower() for language in lingua.Language.all())}
    editions = Path(__file__).with_name("wikipedia_editions.txt").read_text(encoding="utf-8").split()
    kinds = {
        "cldr": names,
        "identifiers": labels,
        "wikipedia": {_EDITIONS.get(edition, edition) for edition in editions},
    }
    found: dict[str, list[str]] = {}
    for kind, texts in kinds.items():
        for code in sorted({code for text in texts for code in _individual(text)}):
            found.setdefault(code, []).append(kind)
    lines = ["# Evidence that there is text of a language; made by experiments/sources/make_text_table.py, see there."]
    lines += [f"{code}\t{' '.join(evidence)}" for code, evidence in sorted(found.items())]
    path = Path(clustering.__file__).with_name("languages") / "text.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(found)} languages")


def _individual(text: str) -> list[str]:
    """Individual languages under a label; none for scripts, collections and the like."""
    try:
        codes = same_language_codes(to_code(text))
    except BadInput:
        return []
    return [code for code in codes if _is_individual(code)]


def _is_individual(code: str) -> bool:
    try:
        known = Language.from_part3(code)
    except LanguageNotFoundError:
        return False
    return bool(known.scope == "I" and known.status == "A")  # no retired code


if __name__ == "__main__":
    main()
