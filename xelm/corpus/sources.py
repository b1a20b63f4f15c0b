"""Where each language's text is: files of a folder, or the configs of a hub dataset."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import sha256_of
from clustering.languages.codes import UnknownLanguageError, match, resolve
from xelm.corpus.lines import Row, read_lines, refuse, refuse_empty, row_of

SUFFIXES = (".jsonl.gz", ".jsonl", ".txt", ".parquet")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The text of one language."""

    code: str
    """ISO 639-3."""
    files: tuple[Path, ...] = ()
    hub: tuple[str, str] | None = None
    """(dataset, config), where the text is not in local files."""

    def rows(self, text_field: str, skipped: list[str] | None = None) -> Iterator[Row]:
        """Rows in order. Bad lines raise BadInput, or are added to `skipped` where that list is given."""
        for file in self.files:
            if file.suffix == ".parquet":
                yield from _dataset_rows("parquet", {"data_files": {"train": str(file)}}, text_field, skipped)
            else:
                yield from read_lines(file, text_field, skipped)
        if self.hub:
            yield from _dataset_rows(self.hub[0], {"name": self.hub[1]}, text_field, skipped)

    def fingerprint(self) -> str:
        """Changes with the text: SHA-256 of the files and formats, or of the hub dataset's name and revision."""
        if self.hub:
            return hashlib.sha256(f"{self.hub}@{_hub_revision(self.hub[0])}".encode()).hexdigest()
        return hashlib.sha256("".join(file.suffix + sha256_of(file) for file in self.files).encode()).hexdigest()


def find_sources(path: str, languages: Sequence[str] | None = None) -> list[Source]:
    """The sources of a folder of `<code>.{txt,jsonl,jsonl.gz,parquet}` (or `<code>/` folders of shards), or of a
    hub dataset with one config per language, sorted by code.

    Raises:
        BadInput: If nothing is found, a name is no language, a language comes twice, or a wanted one is missing.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        sources = _hub_sources(path, languages) if _is_dataset_repository(folder) else _folder_sources(folder)
    elif folder.exists():
        raise BadInput(f"{path}: is a file; [data] path names a folder of <code>.jsonl files or a hub dataset.")
    else:
        sources = _hub_sources(path, languages)
    _refuse_duplicates(sources)
    if languages is not None:
        sources = _wanted(sources, languages, path)
    if not sources:
        raise BadInput(f"{path}: no corpus files. Name them <code>{{{','.join(SUFFIXES)}}}, such as swh.jsonl.")
    return sorted(sources, key=lambda source: source.code)


def _is_dataset_repository(folder: Path) -> bool:
    # Its card says where the text is; the folders of its files are not named after languages.
    card = folder / "README.md"
    header = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL) if card.is_file() else None
    return bool(header and re.search(r"^configs:", header[1], re.MULTILINE))


def _folder_sources(folder: Path) -> list[Source]:
    sources = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        suffix = next((s for s in SUFFIXES if entry.name.endswith(s)), None)
        shards = _shards(entry) if entry.is_dir() else (entry,) if suffix else ()
        if shards:
            stem = entry.name.removesuffix(suffix or "")
            sources.append(Source(_code_of(stem, entry), shards))
    return sources


def _shards(folder: Path) -> tuple[Path, ...]:
    return tuple(p for p in sorted(folder.iterdir()) if p.is_file() and p.name.endswith(SUFFIXES))


def _code_of(stem: str, where: Path) -> str:
    try:
        return resolve(stem).code
    except UnknownLanguageError as error:
        raise BadInput(f"{where}: {error} Rename the file to its language's ISO 639-3 code, or move it away.") from None


def _refuse_duplicates(sources: list[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        twin = match(source.code, seen)
        if twin:
            both = " and ".join(str(s.files[0] if s.files else s.hub) for s in (seen[twin], source))
            raise BadInput(f"{both} are the same language ({source.code}): put them into one folder {source.code}/.")
        seen[source.code] = source


def _wanted(sources: list[Source], languages: Sequence[str], path: str) -> list[Source]:
    by_code = {source.code: source for source in sources}
    chosen = {}
    for language in languages:
        code = match(language, by_code)
        if code is None:
            raise BadInput(f"{path}: no text for '{language}'. There is: {', '.join(sorted(by_code))}.")
        chosen[code] = by_code[code]
    return list(chosen.values())


def _hub_sources(name: str, languages: Sequence[str] | None) -> list[Source]:
    import datasets

    try:
        configs = datasets.get_dataset_config_names(name)
    except Exception as error:  # the hub client raises many unrelated types; all mean: not to be had
        raise BadInput(f"{name}: neither a folder here nor a dataset that can be reached ({error}).") from None
    sources = []
    for config in configs:
        try:
            sources.append(Source(resolve(config).code, hub=(name, config)))
        except UnknownLanguageError:
            if languages is None:
                logger.warning("%s: config '%s' is no language, left out", name, config)
    return sources


def _dataset_rows(name: str, arguments: dict[str, Any], text_field: str, skipped: list[str] | None) -> Iterator[Row]:
    where = str(arguments.get("name") or arguments["data_files"]["train"])
    documents = 0
    for number, value in _dataset_values(name, arguments, where):
        try:
            row = row_of(value, text_field)
        except ValueError as error:
            refuse(f"{where}, row {number}: {error}", skipped)
            continue
        if row.text.strip():
            documents += 1
            yield row
    refuse_empty(where, documents)


def _dataset_values(name: str, arguments: dict[str, Any], where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a dataset with their number in the split, which each row then names if there are several."""
    import datasets

    try:
        splits = datasets.load_dataset(name, streaming=True, **arguments)
        given = len(splits) > 1  # a dataset that is all `train` has not been split
        for split, rows in splits.items():
            for number, row in enumerate(rows, 1):
                named = row.get("split") or (split if given else None)
                yield number, {**row, "split": named} if named else row
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise BadInput(
            f"{where}: cannot be read ({error}). It is empty or damaged: get it again, "
            "or remove it to leave this language out."
        ) from None


def _hub_revision(name: str) -> str:
    if Path(name).exists():
        files = sorted(p for p in Path(name).rglob("*") if p.is_file())
        return hashlib.sha256("".join(sha256_of(p) for p in files).encode()).hexdigest()
    from huggingface_hub import dataset_info

    return str(dataset_info(name).sha)
