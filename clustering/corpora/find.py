"""Find the text of each language: files of a folder, folders of shards, or the configs of a hub dataset."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clustering.corpora.formats import READABLE, TABLE_KINDS, ending_of, kind_of
from clustering.corpora.hub import config_names, dataset_rows, is_dataset_repository, revision
from clustering.corpora.read import read_file
from clustering.corpora.rows import Reading, Row
from clustering.errors import BadInput
from clustering.files import expanded, sha256_of
from clustering.languages.codes import UnknownLanguageError, match, points_of, to_point
from clustering.languages.points import code_of, in_script, script_of

_MOST_NAMED = 20
_BESIDE_TEXT = ("readme", "license", "licence", "notice", "citation", "changelog", "recipe")
"""Names of files that usually lie beside text and are no text of a corpus unless they have such an ending."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The text of one language."""

    code: str
    """ISO 639-3; with the script (`srp_Latn`) where the same corpus has the language in another script too."""
    files: tuple[Path, ...] = ()
    hub: tuple[str, str] | None = None
    """(dataset, config) if the text is not in local files."""
    tag: str = field(default="", kw_only=True, compare=False)
    """The code with the script that the name of its file says, if it says one."""

    def rows(self, reading: Reading | None = None, skipped: list[str] | None = None) -> Iterator[Row]:
        """Documents in order. A bad one raises BadInput, or is added to `skipped` if that list is given."""
        for file in self.files:
            yield from read_file(file, reading, skipped)
        if self.hub:
            yield from dataset_rows(*self.hub, reading or Reading(), skipped)

    def texts(self, reading: Reading | None = None) -> Iterator[str]:
        """The texts of `rows`."""
        return (row.text for row in self.rows(reading))

    def fingerprint(self, sha256: Callable[[Path], str] = sha256_of) -> str:
        """A fingerprint of the text: SHA-256 of the files and formats, or of the hub dataset's name and revision.

        Args:
            sha256: Gives the hash of a file's bytes.
        """
        if self.hub:
            return hashlib.sha256(f"{self.hub}@{revision(self.hub[0])}".encode()).hexdigest()
        return hashlib.sha256("".join(_mark(file) + sha256(file) for file in self.files).encode()).hexdigest()

    def __str__(self) -> str:
        return ", ".join(str(file) for file in self.files) if self.files else " ".join(self.hub or ())


def source_of(path: str | Path, code: str) -> Source:
    """The text of a language in a file of any name, or in a folder of shards.

    Raises:
        BadInput: If there is none, or its kind is unknown.
    """
    place = Path(path)
    if place.is_dir():
        shards, strangers = _shards(place)
        if not shards:
            raise BadInput(f"{place}: no corpus file in it. A corpus is read from {READABLE}.")
        _name_strangers(place, strangers)
        return Source(code, shards, tag=code)
    if not place.is_file():
        raise BadInput(f"{place}: no such file or folder.")
    kind_of(place)
    return Source(code, (place,), tag=code)


def find_sources(path: str | Path, languages: Sequence[str] | None = None) -> list[Source]:
    """The sources of a folder of `<language>.<ending>` files (or `<language>/` folders of shards), or of a hub dataset
    with one config per language, sorted by code.

    Every file of a folder is read, refused or named in a warning: a text file whose name is no language is refused,
    files that are no corpus files are named (except README, LICENSE and the like). Files whose names begin with a dot
    are ignored.

    Args:
        path: The folder, or the dataset's name.
        languages: The languages to find; None for all.

    Raises:
        BadInput: If nothing is found, a name is no language, a language comes twice, or a wanted one is missing.
    """
    folder = expanded(path)
    if folder.is_dir() and not is_dataset_repository(folder):
        sources = _folder_sources(folder, strict=languages is None)
    elif folder.is_dir():
        sources = _hub_sources(str(folder), languages)
    elif folder.exists():
        raise BadInput(f"{path}: is a file; a corpus names a folder of <code>.jsonl files or a hub dataset.")
    elif str(path).startswith(("/", ".", "~")):  # not how a dataset is called
        raise BadInput(f"{path}: no such folder. Give a folder of files such as swa.jsonl, or a hub dataset.")
    else:
        sources = _hub_sources(str(path), languages)
    _refuse_duplicates(sources)
    sources = _apart(sources)
    if languages is not None:
        sources = _wanted(sources, languages, path)
    if not sources:
        raise BadInput(f"{path}: no corpus files. Name them by their language, such as swh.jsonl, as {READABLE}.")
    return sorted(sources, key=lambda source: source.code)


def _folder_sources(folder: Path, *, strict: bool) -> list[Source]:
    sources, strangers = [], list[str]()
    for entry in _entries(folder):
        ending = ending_of(entry.name)
        if entry.is_dir():
            files, inside = _shards(entry)
            strangers += [f"{entry.name}/{name}" for name in inside] or ([] if files else [f"{entry.name}/"])
        else:
            files = (entry,) if ending and _is_there(entry) else ()
            strangers += [] if files else [entry.name]
        if not files:
            continue
        try:
            tag = to_point(entry.name[: -len(ending)] if ending else entry.name)
        except UnknownLanguageError as error:
            if strict and not all(kind_of(file) in TABLE_KINDS for file in files):
                raise BadInput(
                    f"{entry}: {error} Rename the file to its language's ISO 639-3 code, or move it away."
                ) from None
            logger.warning("%s is not read: its name is no language. %s", entry, error)
            continue
        sources.append(Source(code_of(tag), files, tag=tag))
    _name_strangers(folder, strangers)
    return sources


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read ({error.strerror or error}).") from None


def _shards(folder: Path) -> tuple[tuple[Path, ...], list[str]]:
    """The corpus files of a folder in the order of their names, and what else is in it."""
    entries = _entries(folder)
    files = tuple(entry for entry in entries if ending_of(entry.name) and not entry.is_dir() and _is_there(entry))
    return files, [entry.name for entry in entries if entry not in files]


def _is_there(entry: Path) -> bool:
    """Whether an entry is a regular file; False for pipes and the like, which cannot be read twice."""
    if entry.is_symlink() and not entry.exists():
        raise BadInput(f"{entry}: a link to a file that is not there. Restore the file, or remove the link.")
    return entry.is_file()


def _name_strangers(folder: Path, strangers: list[str]) -> None:
    strangers = [name for name in strangers if not name.rpartition("/")[2].lower().startswith(_BESIDE_TEXT)]
    if strangers:
        more = f" and {len(strangers) - _MOST_NAMED} more" if len(strangers) > _MOST_NAMED else ""
        named = ", ".join(strangers[:_MOST_NAMED])
        logger.warning("%s: not read, as no corpus files: %s%s. Corpus files are %s.", folder, named, more, READABLE)


def _mark(file: Path) -> str:
    """The format in a fingerprint: the same bytes read as .txt and as .jsonl are different corpora."""
    ending = ending_of(file.name) or file.suffix
    return (
        ".gz" if ending == ".jsonl.gz" else ending
    )  # so that older runs, made with only this one, keep their fingerprints


def _refuse_duplicates(sources: list[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        twin = match(source.tag, seen)
        if twin:
            both = " and ".join(str(s.files[0] if s.files else s.hub) for s in (seen[twin], source))
            raise BadInput(
                f"{both} are the same language ({source.code}): put them into one folder {source.code}/, or name the "
                f"script of each ({in_script(source.code, 'Latn')})."
            )
        seen[source.tag] = source


def _apart(sources: list[Source]) -> list[Source]:
    """The sources, of which those of one language in several scripts are named with them."""
    points = points_of([source.tag for source in sources])
    return [replace(source, code=point) for source, point in zip(sources, points, strict=True)]


def _wanted(sources: list[Source], languages: Sequence[str], path: str | Path) -> list[Source]:
    by_tag = {source.tag: source for source in sources}
    chosen = {}
    for language in languages:
        tag = match(language, by_tag)
        if tag is None:
            raise BadInput(f"{path}: no text for '{language}'. There is: {', '.join(s.code for s in sources)}.")
        if _is_in_scripts(by_tag[tag]) and script_of(to_point(language)) is None:
            choices = " or ".join(s.code for s in sources if code_of(s.code) == code_of(tag))
            raise BadInput(f"{path}: '{language}' is there in several scripts. Say which: {choices}.")
        chosen[tag] = by_tag[tag]
    # One of two scripts alone needs no script in its code.
    return _apart(list(chosen.values()))


def _is_in_scripts(source: Source) -> bool:
    return script_of(source.code) is not None


def _hub_sources(name: str, languages: Sequence[str] | None) -> list[Source]:
    sources = []
    for config in config_names(name):
        try:
            tag = to_point(config)
            sources.append(Source(code_of(tag), hub=(name, config), tag=tag))
        except UnknownLanguageError:
            if languages is None:
                logger.warning("%s: config '%s' is no language, left out", name, config)
    return sources
