"""Every command and every Python block of README and docs runs, in a folder with a small corpus, recipe and run."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.router.tiny import BYTE_VOCABULARY, byte_tokenizer, llama
from tests.xelm.seq2seq import make_gap_run
from tests.xelm.transfers import write_dictionary, write_task

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# These have tests of their own: add-a-language (test_add_command), extending (test_extending), serve (test_serve).
ELSEWHERE = {"add-a-language.md", "extending.md"}
NOT_RUN = ("make ", "pip ", "curl ", "xelm demo", "xelm serve", "xelm gateway")
LANGUAGES = ("deu", "nld", "rus", "bul", "tur", "azj")
RECIPE = """
[base.new]
tokenizer = "byte"
hidden_size = 16
num_layers = 1
num_heads = 2
context_length = 96
tokens = 6_000
learning_rate = 5e-3
[data]
path = "corpus/"
heldout_bytes = 2_000
[clusters]
k = 3
[train]
tokens = 9_000
batch_size = 4
learning_rate = 2e-3
"""
ZULU = "umuntu ngumuntu ngabantu izingane zidlala ngaphandle namuhla izulu liyana kakhulu ekuseni amanzi abanda"


def commands(page: Path) -> list[str]:
    """`xelm …` lines of the page's console blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.startswith(NOT_RUN)]


def python_blocks(page: Path) -> list[str]:
    """The page's Python blocks."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages take for granted."""
    import xelm

    folder = tmp_path_factory.mktemp("docs")
    (folder / "corpus").mkdir()
    for code in LANGUAGES:
        rows = (ROOT / "xelm" / "starter" / f"{code}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / "corpus" / f"{code}.jsonl").write_text("".join(rows[:80]), encoding="utf-8")
    words = ZULU.split()
    texts = [" ".join(words[(i * 7 + j * 3) % len(words)] for j in range(20)) + f" {i}." for i in range(80)]
    rows = [json.dumps({"text": text}) + "\n" for text in texts]
    (folder / "zul.jsonl").write_text("".join(rows), encoding="utf-8")
    scores = [
        f"{t},{s},{50 + 7 * (t[0] == s[0]) + (i * 5 + j * 3) % 11}\n"
        for i, t in enumerate(("swa", "deu", "rus", "tur", "hin", "ind"))
        for j, s in enumerate(("zul", "eng", "arb", "por", "nld", "bul", "azj"))
    ]
    (folder / "results.csv").write_text("target,source,score\n" + "".join(scores), encoding="utf-8")
    numbers = "language,word_overlap,size\nswa,,1000\nzul,0.12,50000\neng,0.03,1000000\n"
    (folder / "numbers.csv").write_text(numbers, encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    xelm.cluster_languages(LANGUAGES, k=3).save(folder / "mine.json")
    xelm.train(folder / "recipe.toml", folder / "runs" / "a")
    shutil.copytree(folder / "runs" / "a", folder / "runs" / "progit")
    _prepare_transfer(folder)
    make_gap_run(folder / "runs" / "mt5")
    return folder


TRANSLATOR = """
import sys
from tests.xelm.transfers import translate_word_by_word
print(*translate_word_by_word(list(sys.stdin), *sys.argv[1].split("-")), sep="\\n")
"""
STANDS_FOR = {
    "intfloat/multilingual-e5-small": "encoder",
    "HuggingFaceTB/SmolLM2-135M": "encoder",
    'kind = "project"': 'kind = "project"\ncommand = "sed s/.*/0-0/"',
    "apertium -u": f"{sys.executable} translator.py",
}
"""What recipes of the pages name, and what a test has instead: no hub, no translator, no aligner."""


def _prepare_transfer(folder: Path) -> None:
    """A task with dictionary, translator and a small model, and the recipes that the pages show."""
    write_task(folder / "topics", number=60)
    write_dictionary(folder / "words")
    llama(0, BYTE_VOCABULARY).save_pretrained(folder / "encoder")
    byte_tokenizer().save_pretrained(folder / "encoder")
    shutil.copytree(folder / "encoder", folder / "models" / "e5-small")
    write_task(folder / "pairs", number=60, languages=("eng", "deu", "nld"))
    (folder / "translator.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{TRANSLATOR}", encoding="utf-8"
    )
    for page in PAGES:
        for name, recipe in re.findall(
            r"^```toml\n# ([\w-]+\.toml)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M
        ):
            for shown, used in STANDS_FOR.items():
                recipe = recipe.replace(shown, used)
            if page.name.startswith("transfer"):
                (folder / name).write_text(recipe, encoding="utf-8")


@pytest.fixture
def folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    copy = Path(shutil.copytree(prepared, tmp_path / "docs"))
    monkeypatch.chdir(copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copy


SLOW = {"plans.md", "forgetting.md"}
"""They train many small runs: half a minute, a quarter of one."""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, id=p.name, marks=[pytest.mark.slow] if p.name in SLOW else [])
        for p in PAGES
        if p.name not in ELSEWHERE and commands(p)
    ],
)
def test_every_command_of_the_page_works(page: Path, folder: Path) -> None:
    from xelm.cli import group

    for command in commands(page):
        program, *arguments = shlex.split(command, comments=True)
        assert program == "xelm", command
        result = CliRunner().invoke(group, arguments, catch_exceptions=False)
        assert result.exit_code == 0, f"{command}\n{result.output}"
    logging.getLogger().handlers.clear()  # the program's own, which writes to a stream that is closed now


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name not in ELSEWHERE and python_blocks(p)], ids=lambda p: p.name
)
def test_every_python_block_of_the_page_runs(page: Path, folder: Path) -> None:
    names: dict[str, object] = {}
    for block in python_blocks(page):
        if "openai" in block:  # needs a server: see test_serve
            continue
        exec(compile(block, str(page), "exec"), names)


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f": {page.name}" in navigation, f"{page.name} is missing in mkdocs.yml"
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
