"""How often a rightly labelled text is refused, and a wrongly labelled one caught, by what its documents read as.

python -m experiments.new_language.labels --data DATA, with the folders sib200, nusax and bible in DATA. No run: the
figures are those of langid, kinship and script alone (see xelm/adding/languages_read.py).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from xelm.parts import LanguageReader, same_language_key, source_of

UNKNOWN = [
    "ast",
    "ayr",
    "bod",
    "dik",
    "ewe",
    "gla",
    "grn",
    "hau",
    "kab",
    "lin",
    "mri",
    "mya",
    "quy",
    "som",
    "sun",
    "taq",
    "tzm",
    "wol",
    "yor",
]
"""Labels that langid does not know."""
KNOWN = [
    "cat",
    "eus",
    "glg",
    "hrv",
    "ind",
    "jav",
    "kat",
    "nld",
    "nob",
    "pol",
    "por",
    "ron",
    "swe",
    "swh",
    "tel",
    "tur",
    "zul",
]


def documents(file: Path) -> list[str]:
    """Two sentences each, or a chapter."""
    rows = source_of(file, "und").rows()
    texts = [row.text for row, _ in zip(rows, range(80), strict=False)]
    return texts[:40] if "bible" in file.parts else [" ".join(texts[i : i + 2]) for i in range(0, len(texts), 2)]


def refused(texts: list[str], label: str) -> bool:
    """Whether nine in ten documents read as one other language."""
    codes = Counter(one.code for one in LanguageReader(label).read(texts) if one.verdict == "foreign")
    return bool(codes) and 10 * codes.most_common(1)[0][1] >= 9 * len(texts)


def main() -> None:
    """Print both figures, and what was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    files = [file for folder in ("sib200", "nusax", "bible") for file in sorted((data / folder).glob("*.jsonl.gz"))]
    texts = {file: documents(file) for file in files}
    code_of = {file: file.name[:3] for file in files}
    wrong = [code_of[file] for file in files if refused(texts[file], code_of[file])]
    print(f"rightly labelled: {len(files)} texts, refused {len(wrong)} {wrong}")
    for name, labels in (("does not know", UNKNOWN), ("knows", KNOWN)):
        caught, missed = Counter[bool](), Counter[bool]()
        for file in files:
            if file.parent.name != "sib200":
                continue
            known = LanguageReader(code_of[file]).knows_the_language
            for label in labels:
                if same_language_key(label) != same_language_key(code_of[file]):
                    (caught if refused(texts[file][:20], label) else missed)[known] += 1
        for known in (True, False):
            total = caught[known] + missed[known]
            of = "langid knows the text's language" if known else "langid does not know the text's language"
            print(f"wrong labels that langid {name}, {of}: caught {caught[known]} of {total}")


if __name__ == "__main__":
    main()
