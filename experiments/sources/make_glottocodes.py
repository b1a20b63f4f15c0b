"""Make `clustering/languages/glottocodes.tsv` from the table that urielplus 1.3.2 ships (from Glottolog, CC BY 4.0).

    python -m experiments.sources.make_glottocodes

A Glottocode of several ISO codes stands for the one that is not the macrolanguage, else for the first.
"""

from __future__ import annotations

import csv
from importlib.metadata import distribution
from pathlib import Path

from iso639 import Language, LanguageNotFoundError

import clustering


def main() -> None:
    """Write the table."""
    path = distribution("urielplus").locate_file("urielplus/database/urielplus_csvs/uriel_glottocode_map.csv")
    found: dict[str, str] = {}
    with Path(str(path)).open(encoding="utf-8", newline="") as handle:
        for row in sorted(csv.DictReader(handle), key=lambda row: (_rank(row["iso_code"]), row["iso_code"])):
            if row["glottocode"]:
                found.setdefault(row["glottocode"], row["iso_code"])
    lines = [
        "# Glottocode and ISO 639-3 (Glottolog, CC BY 4.0, by way of urielplus 1.3.2); made by make_glottocodes.py"
    ]
    lines += [f"{glottocode}\t{code}" for glottocode, code in sorted(found.items())]
    target = Path(clustering.__file__).with_name("languages") / "glottocodes.tsv"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{target}: {len(found)} Glottocodes")


def _rank(code: str) -> int:
    try:
        known = Language.from_part3(code)
    except LanguageNotFoundError:
        return 2
    return 2 if known.status == "R" else int(known.scope != "I")


if __name__ == "__main__":
    main()
