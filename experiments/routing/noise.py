"""How well text as it comes from the web finds its language; writes noise.json beside this file.

    python experiments/routing/noise.py --data ../shared/data

Sentences of SIB-200's test split, cut to 40 characters and put into noise: HTML, addresses, code, emoji, capitals,
compatibility letters, repeated letters, all built here from many patterns at random. An identifier trained on SIB-200's
train split, of 19 languages that are near one another or far, answers for each; so do langid's part alone and, where it
is installed, py3langid. Beside that what should be doubted: menus of languages, nonsense, names, single words.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from samples import cut, expected_calibration_error, flat, read

from xelm import BadInput
from xelm.parts import (
    CombinedIdentifier,
    ExpertWeigher,
    LangidIdentifier,
    LanguageIdentifier,
    OpenIdentifier,
    make_identifier,
    route_openly,
)

# Two groups, so that what was chosen on one can be tried on the other.
GROUPS = {
    "chosen on": "deu nld spa por fra ita pol ces rus bul tur swh ind vie ell hin jpn kor arb",
    "tried on": "eng dan lvs lit fin hun ukr srp slv hau som yor tgl mya heb tam zho urd kat eus cym pes",
}
LENGTH = 40
EMOJI = "😀🚀❤️🎉🔥👍🏽😂🙏✨💯🇩🇪🐍📈🍕⚽🎵🤔👩‍💻☕🌍"
HTML = (
    '<p class="intro">{}</p>',
    "<div><h2>{}</h2></div>",
    '<a href="https://example.com/page?id=12&amp;lang=en" title="link">{}</a>',
    '<td style="color:#fff">{}&nbsp;</td>',
    "<li><strong>{}</strong><br/></li>",
    '<span id="main-content" data-role="text">{}</span>',
    "<html><head><title>{}</title></head>",
    "<!-- header --><blockquote>{}</blockquote><script>var x = document.title;</script>",
)
ADDRESSES = (
    "{} https://www.example.com/articles/2024/05/some-title.html",
    "https://t.co/AbC123xYz {}",
    "{} www.news-site.org/read?id=99 #breaking @reporter",
    "@john_doe {} #trending http://bit.ly/3xYzAbC",
    "{} contact@example.org",
    "RT @NewsDaily: {} https://youtu.be/dQw4w9WgXcQ",
)
CODE = (
    "# {}\ndef main(args):\n    return args[0]",
    "// {}\nint count = 0;",
    "/* {} */\nfunction getName(user) {{ return user.name; }}",
    "def load_file(path):  # {}\n    pass",
    'print("{}")',
    'const message = "{}";',
    "int x = 5; // {}",
    "<?php echo '{}'; ?>",
    "-- {}\nSELECT id, name FROM users WHERE id = 1;",
)


def mathematical(text: str, generator: random.Random) -> str:
    """Latin letters as full-width or bold mathematical ones, which look alike."""
    bold = generator.random() < 0.5

    def changed(character: str) -> str:
        if not (character.isascii() and character.isalpha()):
            return character
        base = 0x1D41A if character.islower() else 0x1D400
        first = ord("a") if character.islower() else ord("A")
        return chr(base + ord(character) - first) if bold else chr(ord(character) + 0xFEE0)

    return "".join(map(changed, text))


def repeated(text: str, generator: random.Random) -> str:
    """One letter of some words, repeated."""
    words = text.split(" ")
    for place, word in enumerate(words):
        if len(word) > 2 and generator.random() < 0.4:
            at = generator.randrange(len(word))
            words[place] = word[:at] + word[at] * generator.randint(3, 6) + word[at + 1 :]
    return " ".join(words)


def with_emoji(text: str, generator: random.Random) -> str:
    """Emoji before, after and between words."""
    words = text.split(" ")
    signs = ["".join(generator.choices(EMOJI, k=generator.randint(1, 3))) for _ in range(3)]
    words.insert(generator.randrange(len(words) + 1), signs[0])
    return f"{signs[1]} {' '.join(words)} {signs[2]}"


NOISE: dict[str, Callable[[str, random.Random], str]] = {
    "clean": lambda text, generator: text,
    "html": lambda text, generator: generator.choice(HTML).format(text),
    "address": lambda text, generator: generator.choice(ADDRESSES).format(text),
    "code": lambda text, generator: generator.choice(CODE).format(text),
    "emoji": with_emoji,
    "capitals": lambda text, generator: text.upper(),
    "compatibility letters": mathematical,
    "repeated letters": repeated,
    "numbers": lambda text, generator: f"{generator.randrange(10**6)} {text} 3,14 12:45 €99",
}
DOUBTED = {
    "menu": [
        "English Deutsch Français Español Русский 日本語 한국어",
        "Deutsch | English | Nederlands | Polski | Türkçe",
        "Français Italiano Português Română Svenska Suomi",
        "中文 日本語 한국어 ไทย Tiếng Việt Bahasa Indonesia",
        "EN DE FR ES IT PT RU JA",
        "Dansk Norsk Svenska Íslenska Eesti Latviešu Lietuvių",
        "العربية فارسی اردو עברית Türkçe",
        "Čeština Slovenčina Magyar Hrvatski Srpski Български Ελληνικά",
    ],
    "nonsense": [
        "xkcd zzzz qqqq wrtp",
        "asdf jkl qwer uiop",
        "bcdfg hjklm npqrst",
        "lkjh gfds poiu mnbv",
        "aaa bbb ccc ddd",
        "qwertyuiop asdfghjkl",
        "xq zv kj wq pf",
        "фыва олдж йцук",
        "hjkhjk dfgdfg wewewe",
        "zxcvbnm zxcvbnm",
    ],
    "names": [
        "Hello China",
        "Angela Merkel",
        "Barack Obama",
        "Tokyo",
        "Shakira",
        "New York",
        "Max Müller",
        "Kofi Annan",
        "Rio de Janeiro",
        "Maria Gonzalez",
        "Microsoft Windows",
        "Nelson Mandela",
        "Jean Dupont",
        "Coca-Cola",
        "Vladimir Putin",
        "Владимир",
        "Lionel Messi",
        "San Francisco",
    ],
    "single words": [
        "ñ",
        "taxi",
        "hotel",
        "pizza",
        "guten",
        "internet",
        "ok",
        "agua",
        "дом",
        "radio",
        "banana",
        "auto",
    ],
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    output: dict[str, Any] = {
        "command": f"python experiments/routing/noise.py --data ../shared/data --seed {arguments.seed}"
    }
    train, test = read(arguments.data, "sib200", "train"), read(arguments.data, "sib200", "test")
    for group, names in GROUPS.items():
        codes = [code for code in names.split() if code in train]
        run = CombinedIdentifier.train({code: train[code] for code in codes}, seed=0)
        rows = identifiers(run, {code: test[code] for code in codes}, arguments.seed)
        output[group] = {"languages": codes, "right": rows, "clean": clean_text(run, test), "doubt": doubt(run)}
        print(group, json.dumps(output[group], indent=1), flush=True)
    file = Path(__file__).parent / "noise.json"
    file.write_text(json.dumps(output, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def identifiers(run: CombinedIdentifier, test: dict[str, list[str]], seed: int) -> dict[str, Any]:
    """Share of texts whose language is found, by identifier and noise, with the calibration error of the run's."""
    texts, truth = flat(cut(test, LENGTH))
    made: dict[str, LanguageIdentifier] = {
        "xelm": run,
        "xelm, any language": OpenIdentifier(run),
        "langid's part": LangidIdentifier(list(run.languages)),
    }
    try:
        made["py3langid"] = make_identifier("py3langid", list(run.languages))
    except BadInput as error:
        print(error)
    rows: dict[str, Any] = {}
    for kind, change in NOISE.items():
        noisy = [change(text, random.Random(f"{seed}{kind}{row}")) for row, text in enumerate(texts)]
        rows[kind] = {"texts": len(noisy)}
        for name, identifier in made.items():
            posterior = identifier.posterior(noisy)
            found = [identifier.languages[best] for best in posterior.argmax(1)]
            answered = [code for code in truth if code in identifier.languages]
            right = np.array([f == t for f, t in zip(found, truth, strict=True) if t in identifier.languages])
            rows[kind][name] = round(100 * float(right.mean()), 2) if answered else None
            if name == "xelm":
                rows[kind]["calibration error"] = round(expected_calibration_error(posterior.max(1), right), 4)
    return rows


def clean_text(run: CombinedIdentifier, test: dict[str, list[str]]) -> dict[str, float]:
    """Clean sentences: at least 50 characters, and cut to 20."""
    own = {code: rows for code, rows in test.items() if code in run.languages}
    result = {}
    for name, rows in {
        "50 characters or more": {c: [t for t in r if len(t) >= 50] for c, r in own.items()},
        "20 characters": cut(own, 20),
    }.items():
        texts, truth = flat(rows)
        posterior = run.posterior(texts)
        right = np.array([run.languages[b] == t for b, t in zip(posterior.argmax(1), truth, strict=True)])
        result[name] = round(100 * float(right.mean()), 2)
        result[f"{name}, calibration error"] = round(expected_calibration_error(posterior.max(1), right), 4)
    return result


def doubt(run: CombinedIdentifier) -> dict[str, Any]:
    """Confidence in texts that nobody should be sure of: the highest of a kind, and how many are over one half."""
    weigher = ExpertWeigher({code: [code] for code in run.languages}, list(run.languages))
    opened = OpenIdentifier(run)
    whole = ExpertWeigher({code: [code] for code in run.languages}, list(opened.languages))
    found = {}
    for kind, texts in DOUBTED.items():
        routes = route_openly(texts, opened, weigher, lambda: whole)
        sure = [route.confidence for route in routes]
        found[kind] = {
            "texts": len(texts),
            "over one half": sum(value >= 0.5 for value in sure),
            "highest": round(max(sure), 3),
            "surest": texts[int(np.argmax(sure))],
        }
    return found


if __name__ == "__main__":
    main()
