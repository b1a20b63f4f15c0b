"""Documents of .txt, .jsonl and .json files, read strictly: an error names the line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from clustering.corpora.formats import decoded, opened, raw_lines
from clustering.corpora.rows import Reading, Row, checked, refuse, row_of
from clustering.errors import BadInput

_CHUNK = 1 << 20
_NEAR_END = 64
"""An error this near the end of the text read so far may disappear with more text, as a value may be cut there."""


def text_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """Read one document from each line."""
    for number, raw in raw_lines(file):
        if not raw.strip():
            continue
        try:
            if reading.prompt_field:
                raise ValueError("a line of text holds no prompt with its answer: rows with fields do, as in .jsonl")
            row = Row(checked(decoded(raw).rstrip("\r\n")))
        except ValueError as error:
            refuse(f"{file}, line {number}: {error}", skipped, reading.way_out)
            continue
        yield row


def json_line_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """Read one JSON object from each line."""
    for number, raw in raw_lines(file):
        if not raw.strip():
            continue
        try:
            row = row_of(_parsed(decoded(raw)), reading)
        except ValueError as error:
            refuse(f"{file}, line {number}: {error}", skipped, reading.way_out)
            continue
        yield row


def json_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """The objects of one JSON array, or objects one after another, however their lines are broken.

    Broken JSON is refused even where bad rows are skipped: what follows it cannot be found again.
    """
    for number, value in _json_values(file):
        try:
            row = row_of(value, reading)
        except ValueError as error:
            refuse(f"{file}, line {number}: {error}", skipped, reading.way_out)
            continue
        yield row


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError("not valid JSON (nested too deeply)") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise ValueError("a number of too many digits") from None


def _json_values(file: Path) -> Iterator[tuple[int, Any]]:
    """Values with the line on which each begins; memory holds a piece of the file and one value."""
    with opened(file) as handle:
        text = _Window(file, handle)
        in_array = text.skip_space() == "["
        if in_array:
            text.drop(1)
        while (char := text.skip_space()) != "":
            if in_array and char == "]":
                text.drop(1)
                if text.skip_space():
                    text.fail("something stands after the end of the array")
                return
            line = text.line
            yield line, text.value()
            if in_array:
                text.end_of_item()
        if in_array:
            text.fail("the file ends inside the array")


class _Window:
    """The part of a JSON file that is in memory, from the current position on."""

    def __init__(self, file: Path, handle: Any) -> None:
        self.file, self.handle = file, handle
        self.line = 1
        self._text, self._place, self._ended = "", 0, False
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()

    def skip_space(self) -> str:
        """Skip white space; return the next character, or an empty string at the end of the file."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\r\n\ufeff":
                self.drop(1)
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more():
                return ""

    def drop(self, number: int) -> None:
        """Advance by a number of characters."""
        self.line += self._text.count("\n", self._place, self._place + number)
        self._place += number

    def value(self) -> Any:
        """Read the JSON value that begins here."""
        while True:
            length = len(self._text) - self._place
            try:
                value, end = self._json.raw_decode(self._text, self._place)
                used = end - self._place
                # A number may continue in the text that has not been read yet.
                if used < length or not self._more():
                    self.drop(used)
                    return value
            except json.JSONDecodeError as error:
                used = error.pos - self._place
                cut = used >= length - _NEAR_END or error.msg.startswith("Unterminated string")
                if not (cut and self._more()):
                    self.drop(used)
                    self.fail(f"not valid JSON ({error.msg})")
            except RecursionError:
                self.fail("not valid JSON (nested too deeply)")
            except ValueError:
                self.fail("a number of too many digits")

    def end_of_item(self) -> None:
        """Skip the comma after an item of an array."""
        char = self.skip_space()
        if char == ",":
            self.drop(1)
            if self.skip_space() == "]":
                self.fail("a comma stands before the end of the array")
        elif char != "]":
            self.fail("a comma or ] is missing" if char else "the file ends inside the array")

    def fail(self, problem: str) -> NoReturn:
        """Raise an error for this position."""
        raise BadInput(f"{self.file}, line {self.line}: {problem}. Correct the file, or write it as .jsonl.")

    def _more(self) -> bool:
        """Read more of the file; return False at its end."""
        if self._ended:
            return False
        # Double the text in memory each time, so that a long value is parsed only a few times.
        raw = self.handle.read(max(_CHUNK, len(self._text) - self._place))
        self._ended = not raw
        try:
            text = self._decode.decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            self.line += self._text.count("\n", self._place) + raw.count(b"\n", 0, error.start)
            self.fail(f"not valid UTF-8 (byte {error.object[error.start]:#04x})")
        self._text, self._place = self._text[self._place :] + text, 0
        return bool(text) or not self._ended
