"""Words of a language among code: comments and strings; names and keywords of programs are in no language."""

from __future__ import annotations

import re

# Signs that ordinary text does not have, or not next to one another; two different ones make code of a text.
_SIGNS = re.compile(
    r"(?P<end>[{};]\s*(?:\n|$)|[\"'];)|(?P<call>\w\(\)|\w\([\w\"', .]*\)\s*[;:{]|\w\((?=[\"']))|"
    r"(?P<operator>==|!=|<=|>=|=>|->|::|\+=|&&|\|\|)|(?P<assign>\w\s*=\s*[\w\"'\[{(])|(?P<comment>//|/\*|\*/|^\s*#)|"
    r"(?P<word>\b(?:def|return|import|const|let|var|function|class|public|static|void|print|printf|elif|else|null|None|"
    r"self|struct|fn|func|include|SELECT|FROM|WHERE)\b(?=[^.,!?]*[(){}=;:*_<>]))|(?P<brace>[{}])|(?P<tick>`)|"
    r"(?P<php><\?|\?>)",
    re.MULTILINE,
)
# A call with a string for its only argument is enough.
_SAYING = re.compile(r"\w\((?:\"[^\"\n]*\"|'[^'\n]*')\)")
_ENOUGH_SIGNS = 2
_FENCED = re.compile(r"```.*?(?:```|$)|`[^`\n]*`", re.DOTALL)
_COMMENT = re.compile(
    r"/\*+(?P<block>.*?)(?:\*/|$)|(?:^|(?<=[\s;{})]))(?://+|#+!?|--|%+|;;+|\"\"\"|''')\s?(?P<line>[^\n]*)",
    re.DOTALL | re.MULTILINE,
)
_STRING = re.compile(r"\"([^\"\n]*)\"|'([^'\n]{8,})'")
# Names with signs inside or after them: snake_case, camelCase, a.b, f(…), x =, x:, $x, <T>, digits in a word.
_NAME = re.compile(
    r"[$@%]\w+|\b\w*_\w*\b|\b[a-z]+(?:[A-Z]\w*)+\b|\b[A-Za-z]\w*(?:(?:\.|::|->)\w+)+|\b[A-Za-z]\w*\s*\(|"
    r"\b[A-Za-z]\w*\s*(?:[-+*/|&]?=|:(?=\s*[\w\"'\[{]))|\b\w*\d\w*\b",
)
_KEYWORDS = re.compile(
    r"\b(?:def|return|import|from|const|let|var|function|class|public|private|static|void|int|float|double|char|bool|"
    r"string|str|if|else|elif|for|while|do|in|not|and|or|try|except|catch|finally|throw|new|null|None|true|false|True|"
    r"False|self|this|struct|fn|func|include|print|printf|println|echo|end|then|fi|select|where|pass|async|await|lambda|"
    r"with|as|is|break|continue|switch|case|default|package|namespace|using|require|export|extends|implements|i|j|x|y)\b"
)


def looks_like_code(text: str) -> bool:
    """Whether a text has at least two different signs of code, or a call that says something."""
    if _SAYING.search(text):
        return True
    return len({match.lastgroup for match in _SIGNS.finditer(text)}) >= _ENOUGH_SIGNS


def words_in_code(text: str) -> str:
    """What was written in a language: comments and strings if they have words, else the words that are no names."""
    outside = _FENCED.sub(" ", text)
    if _has_words(outside):
        text = outside
    if not looks_like_code(text):
        return text
    comments = [match["block"] or match["line"] or "" for match in _COMMENT.finditer(text)]
    spoken = "\n".join(comment for comment in comments if _has_words(comment))
    if not spoken:
        strings = ["".join(part or "" for part in match.groups()) for match in _STRING.finditer(text)]
        spoken = "\n".join(string for string in strings if _has_words(string))
    rest = spoken or text
    return _KEYWORDS.sub(" ", _NAME.sub(" ", rest)) if not spoken else _NAME.sub(" ", spoken)


def _has_words(text: str) -> bool:
    """Whether a text has two words of letters, or one without spaces of a script that has none."""
    words = re.findall(r"[^\W\d_]{2,}", text)
    return len(words) >= 2 or any(not word.isascii() and len(word) >= 4 for word in words)
