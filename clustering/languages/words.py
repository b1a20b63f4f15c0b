"""Words of text in any script: marks stay on their letters, scripts without spaces give character pairs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

# Unicode blocks of scripts that put no space between words: Thai, Lao, Myanmar, Khmer, Tai Le to Tai Tham,
# kana, bopomofo, Han and its extensions. (Tibetan and Ethiopic mark word or syllable ends.)
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3005-\u3007\u3021-\u3029\u3040-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_JOINERS = "\u200c\u200d"
# Unicode names begin with the script; these begin otherwise but belong to one.
_SCRIPT_ALIASES = {"CJK": "HAN", "IDEOGRAPHIC": "HAN", "KANGXI": "HAN", "FULLWIDTH": "LATIN", "HALFWIDTH": "KATAKANA"}


def split_words(text: str) -> list[str]:
    """Split text into lower-cased words, whatever its script.

    A word begins with a letter and continues over letters, digits, combining marks and joiners (Python's `\\w`
    alone cuts Hindi words at every vowel sign). Runs of a script without spaces give overlapping pairs of
    characters with their marks, the usual unit for such text in retrieval (CJK bigrams of Lucene); a single
    character stands alone. Numbers and punctuation, which all languages share, are left out.

    Example:
        >>> split_words("Hello हिन्दी, 2024: 東京都")
        ['hello', 'हिन्दी', '東京', '京都']
    """
    word, unspaced, cluster = _patterns()
    runs = word.findall(text.lower())
    if unspaced.search(text) is None:
        return runs
    words: list[str] = []
    for run in runs:
        if unspaced.search(run) is None:
            words.append(run)
            continue
        for piece in cluster.findall(run):
            if unspaced.match(piece) is None:
                words.append(piece)
                continue
            letters = _letters_with_marks(piece)
            words += [a + b for a, b in pairwise(letters)] or letters
    return words


def count_words(texts: Iterable[str], counts: Counter[str]) -> None:
    """Add the words of texts to `counts`, as `split_words` finds them.

    Whitespace ends every word, so only distinct chunks between whitespace are looked at closely: natural text
    has several times fewer of them than running words.
    """
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    unspaced = _patterns()[1]
    for chunk, count in chunks.items():
        if chunk.isalpha() and (chunk.isascii() or unspaced.search(chunk) is None):
            counts[chunk.lower()] += count
            continue
        for word in split_words(chunk):
            counts[word] += count


def script_shares(words: Iterable[str]) -> dict[str, float]:
    """Share of letters per script over distinct words, largest first: {"LATIN": 0.98, "HAN": 0.02}.

    Scripts are the first words of Unicode character names, since the standard library has no script table.
    """
    counts: Counter[str] = Counter()
    for char, count in Counter("".join(words)).items():
        script = _script_of(char)
        if script is not None:
            counts[script] += count
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {script: count / total for script, count in ordered}


@lru_cache(maxsize=65536)
def _script_of(char: str) -> str | None:
    if not char.isalpha():
        return None
    head = unicodedata.name(char, "").split(" ")[0].split("-")[0]
    return _SCRIPT_ALIASES.get(head, head) or None


def _letters_with_marks(piece: str) -> list[str]:
    letters: list[str] = []
    for char in piece:
        if letters and (unicodedata.category(char)[0] == "M" or char in _JOINERS):
            letters[-1] += char
        else:
            letters.append(char)
    return letters


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    marks = _mark_ranges()
    word = re.compile(f"[^\\W\\d_][\\w{marks}{_JOINERS}]*")
    unspaced = re.compile(f"[{_UNSPACED}]")
    cluster = re.compile(f"[{_UNSPACED}][{_UNSPACED}{marks}{_JOINERS}]*|[^{_UNSPACED}]+")
    return word, unspaced, cluster


def _mark_ranges() -> str:
    """Character class of all combining marks, as ranges."""
    ranges: list[list[int]] = []
    for code in (*range(0x20000), *range(0xE0100, 0xE01F0)):  # no other plane has marks
        if unicodedata.category(chr(code))[0] != "M":
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
