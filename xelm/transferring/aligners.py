"""Word alignment of sentence pairs: eflomal, a command, or a function."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from clustering.errors import BadInput

Links = set[tuple[int, int]]
"""(word of the source, word of the target), from 0."""
Words = Sequence[Sequence[str]]
AlignFunction = Callable[[Words, Words], Sequence[Links]]
Combine = Literal["intersection", "union"]
_INSIDE = "\u2581"
"""Stands for a space within a word: aligners cut at spaces."""


def align_eflomal(sources: Words, targets: Words, combine: Combine) -> list[Links]:
    """Align by eflomal (Östling and Tiedemann 2016) in both directions.

    Raises:
        BadInput: If eflomal is not installed, or it fails.
    """
    try:
        import eflomal
    except ImportError:
        raise BadInput("word alignment needs eflomal: pip install 'xelm[align]', or give a command.") from None
    with tempfile.TemporaryDirectory() as folder:
        forward, back = Path(folder) / "forward", Path(folder) / "back"
        lines = [[f"{line}\n" for line in joined(side)] for side in (sources, targets)]
        try:
            eflomal.Aligner().align(*lines, links_filename_fwd=str(forward), links_filename_rev=str(back), quiet=True)
            texts = [file.read_text(encoding="utf-8").splitlines() for file in (forward, back)]
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise BadInput(f"eflomal: {error}") from None
    first, second = (parsed(own, sources, targets, "eflomal") for own in texts)
    return [one & other if combine == "intersection" else one | other for one, other in zip(first, second, strict=True)]


def align_by_command(command: str, sources: Words, targets: Words) -> list[Links]:
    """Align by a shell command that reads lines `words ||| words` and writes as many lines `0-0 1-2`.

    Raises:
        BadInput: If it fails or returns another number of lines.
    """
    pairs = "".join(f"{one} ||| {other}\n" for one, other in zip(joined(sources), joined(targets), strict=True))
    done = subprocess.run(command, shell=True, input=pairs.encode(), capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BadInput(f"{command}: ended with exit code {done.returncode}{f': {said[-1]}' if said else ''}")
    return parsed(done.stdout.decode("utf-8", "replace").splitlines(), sources, targets, command)


def joined(sentences: Words) -> list[str]:
    """A line a sentence, in lower case, with words that hold no space."""
    return [" ".join(_INSIDE.join(word.lower().split()) or _INSIDE for word in words) for words in sentences]


def parsed(lines: Sequence[str], sources: Words, targets: Words, name: str) -> list[Links]:
    """Links from lines such as `0-0 1-2`.

    Raises:
        BadInput: If their number is wrong, or a link leads to a word that is not there.
    """
    if len(lines) != len(sources):
        raise BadInput(f"{name}: {len(lines):,} lines of links came back for {len(sources):,} pairs of sentences.")
    found = []
    for number, (line, source, target) in enumerate(zip(lines, sources, targets, strict=True), 1):
        links: Links = set()
        for link in line.split():
            first, _, second = link.partition("-")
            if not (
                first.isdecimal() and second.isdecimal() and int(first) < len(source) and int(second) < len(target)
            ):
                raise BadInput(f"{name}, line {number}: {link!r} is no link of words that are there.")
            links.add((int(first), int(second)))
        found.append(links)
    return found
