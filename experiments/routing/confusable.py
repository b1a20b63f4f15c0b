"""A group that little text cannot tell apart: Croatian, Serbian in Latin letters, Bosnian; writes confusable.json.

    pip install --no-deps --target catalogues django plone.app.locales wagtail django-allauth wtforms
    python experiments/routing/confusable.py catalogues

Messages of programs, translated by people (gettext files), of at least 30 characters: a half trains an identifier, a
quarter finds the groups that share an answer, a quarter is asked, for splits drawn with several seeds. Beside the
three, four languages that can be told apart. The control is the same identifier without groups.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from spellings import SURE, messages

from xelm.parts import (
    CombinedIdentifier,
    ExpertWeigher,
    LanguageIdentifier,
    Relatives,
    RelativesIdentifier,
    find_groups,
    route_texts,
    write_json,
)

FOLDERS = {
    "hrv": ("hr",),
    "srp": ("sr_Latn", "sr@Latn"),
    "bos": ("bs",),
    "slv": ("sl",),
    "ces": ("cs",),
    "slk": ("sk",),
    "pol": ("pl",),
}
KINDS = ("named right", "named wrong", "a shared answer", "in doubt")
GROUP = ("bos", "hrv", "srp")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogues", type=Path, help="Folder of packages with gettext catalogues.")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    texts = {code: messages(options.catalogues, folders) for code, folders in FOLDERS.items()}
    rows = [one_split(texts, seed) for seed in range(options.seeds)]
    names = rows[0]["per cent"]
    found = {
        "texts": {code: len(part) for code, part in texts.items()},
        "groups": [row["groups"] for row in rows],
        "per cent, mean and by seed": {
            name: {key: spread([row["per cent"][name][key] for row in rows]) for key in names[name]} for name in names
        },
    }
    write_json(Path(__file__).with_suffix(".json"), found)
    print(json.dumps(found, indent=1))


def spread(values: list[float]) -> dict[str, Any]:
    """The mean, and each value."""
    return {"mean": round(float(np.mean(values)), 1), "by seed": [round(value, 1) for value in values]}


def one_split(texts: dict[str, list[str]], seed: int) -> dict[str, Any]:
    """Groups, and how the texts that are asked are answered with and without them."""
    train, held_out, asked = {}, {}, {}
    for code, part in texts.items():
        mixed = random.Random(f"{seed} {code}").sample(part, len(part))
        quarter = len(mixed) // 4
        asked[code], held_out[code], train[code] = mixed[:quarter], mixed[quarter : 2 * quarter], mixed[2 * quarter :]
    plain = CombinedIdentifier.train(train, seed=seed)
    groups = find_groups(plain, held_out)
    plan = {f"expert-{code}": [code] for code in texts}
    arms = {
        name: (RelativesIdentifier(plain, relatives), ExpertWeigher(plan, plain.languages, relatives=relatives))
        for name, relatives in (("without groups", Relatives()), ("with groups", Relatives(groups=groups)))
    }
    others = [code for code in texts if code not in GROUP]
    shares = {
        f"{kind}, {name}": answers({code: asked[code] for code in codes}, identifier, weigher)
        for name, (identifier, weigher) in arms.items()
        for kind, codes in (("the three", GROUP), ("the others", others))
    }
    return {"groups": ["/".join(group.languages) for group in groups], "per cent": shares}


def answers(asked: dict[str, list[str]], identifier: LanguageIdentifier, weigher: ExpertWeigher) -> dict[str, float]:
    """Per cent of texts by kind of answer."""
    counts = dict.fromkeys(KINDS, 0)
    for code, texts in asked.items():
        for route in route_texts(texts, identifier, weigher):
            if route.confidence < SURE:
                kind = "in doubt"
            elif len(route.languages) > 1:
                kind = "a shared answer"
            else:
                kind = "named right" if route.language == code else "named wrong"
            counts[kind] += 1
    return {kind: 100 * count / sum(counts.values()) for kind, count in counts.items()}


if __name__ == "__main__":
    main()
