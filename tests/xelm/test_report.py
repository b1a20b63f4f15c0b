"""The report of a run: whole, self-contained, the same bytes each time, and honest about what is missing."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustering import ClusterPlan, name_of
from clustering.files import write_json
from router.routes.weigh import Route
from tests.xelm import made_runs
from tests.xelm.conftest import write_jsonl
from xelm.recipe.recipe import Recipe
from xelm.report import page, text, write_report
from xelm.report.charts import Line, line_chart, ticks
from xelm.report.facts import Facts
from xelm.report.sections import making, routing
from xelm.report.sections.headline import headline
from xelm.report.sections.heatmap import heat_map, shade
from xelm.run.experts import ExpertSet
from xelm.run.records.ledger import BeforeAfter, DonorCandidate, LedgerEntry, TokenizerCheck, TokenizerFit
from xelm.run.records.manifest import Manifest, ModelEntry

CLUSTERS = {"c1-deu-nld": ["deu", "nld"], "c2-arb-heb": ["arb", "heb"], "c3-jpn": ["jpn"]}
TEXTS = {
    "deu": "Meine Großmutter backt freitags Brot. Sie misst das Mehl nie ab.",
    "nld": "Mijn grootmoeder bakt op vrijdag brood. Ze weegt nooit iets.",
    "arb": "تخبز جدتي الخبز كل يوم جمعة. لا تقيس الدقيق أبدا.",
    "heb": "סבתא שלי אופה לחם בכל יום שישי. היא אף פעם לא מודדת.",
    "jpn": "祖母は毎週金曜日にパンを焼く。粉の量をはかったことは一度もない。",
}
HOSTILE = "<script>alert('x')</script><img src=http://evil.example/a.png> & \"quoted\" \x00\x1b \ud800 end."


class FakeRouter:
    """Stands for a `RoutedLM`: answers at once, and counts how often it was asked to write."""

    def __init__(self, experts: ExpertSet, answer: str = " und so weiter\ufffd") -> None:
        self.experts, self.answer, self.num_generated = experts, answer, 0

    def tokenizer(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode("utf-8", "replace"))}

    def route(self, texts: list[str]) -> list[Route]:
        codes = self.experts.languages
        names = [self.experts.plan.cluster_of(code) for code in codes]
        return [
            Route(codes[i % len(codes)], 0.97, {names[i % len(codes)]: 0.9, "base": 0.1}, "It was trained on it.")
            for i in range(len(texts))
        ]

    def generate(self, prompts: list[str], policy: str, **options: Any) -> list[str]:
        assert options["do_sample"] is False and options["max_new_tokens"] <= 48
        self.num_generated += len(prompts)
        return [self.answer for _ in prompts]


def cells(scale: float, codes: list[str]) -> dict[str, dict[str, float]]:
    return {
        code: {
            "nats": 900.0,
            "tokens": 400,
            "bytes": 1000,
            "documents": 7,
            "perplexity": 9.5 * scale,
            "bits_per_byte": (2 + i / 10) * scale,
        }
        for i, code in enumerate(codes)
    }


def make_result(clusters: dict[str, list[str]], factor: float = 0.9, *, dense: bool = True) -> dict[str, Any]:
    """A test result in which every language's own expert needs `factor` of the dense model's bits."""
    codes = sorted(code for members in clusters.values() for code in members)
    models = {"base": cells(1.05, codes), **({"dense": cells(1.0, codes)} if dense else {})}
    for name, members in clusters.items():
        models[name] = {**cells(1.3, codes), **{c: v for c, v in cells(factor, codes).items() if c in members}}
    routed = {policy: cells(factor, codes) for policy in ("top1", "ensemble", "bayes")}
    owners = {code: name for name, members in clusters.items() for code in members}
    return {
        "split": "test",
        "owners": owners,
        "models": models,
        "routed": routed,
        "right_expert": dict.fromkeys(codes, 1.0),
        "summary": {"languages": len(codes)},
    }


def make_run(
    folder: Path,
    clusters: dict[str, list[str]] | None = None,
    texts: dict[str, str] | None = None,
    result: dict[str, Any] | None = None,
    **manifest: Any,
) -> ExpertSet:
    """A finished run without weights: everything but the models is there."""
    clusters, texts = clusters or CLUSTERS, TEXTS if texts is None else texts
    plan = ClusterPlan.from_clusters(clusters)
    plan.save(folder / "plan.json")
    recipe = {
        "base": {"new": {"hidden_size": 16, "num_heads": 2}},
        "data": {"path": "corpus", "languages": plan.languages},
        "clusters": {"k": len(clusters)},
        "train": {"tokens": 3000},
    }
    entries = {name: ModelEntry(codes, "base", tokens=1000, state="done") for name, codes in clusters.items()}
    values: dict[str, Any] = {
        "data": {code: {"documents": 9, "bytes": 800, "tokens": 900} for code in plan.languages},
        "base": ModelEntry(plan.languages, None, tokens=5000, state="done"),
        "dense": ModelEntry(plan.languages, "base", tokens=1000 * len(clusters), state="done"),
        "experts": entries,
        "packages": {"xelm": "0.1.0", "torch": "2.13.0"},
    }
    Manifest(**{"recipe": Recipe.from_dict(recipe).to_dict(), **values, **manifest}).write(folder)
    write_json(folder / "base" / "config.json", {"max_position_embeddings": 256})
    history = [{"step": i, "tokens": 100 * i, "loss": 5 / i + 1} for i in range(1, 11)]
    for name in ("base", "dense", *(f"experts/{name}" for name in clusters)):
        write_json(folder / name / "training.json", {"history": history})
    for code, sentence in texts.items():
        row = json.dumps({"id": 1, "split": "test", "text": sentence}) + "\n"
        file = folder / "eval" / "heldout" / f"{code}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(row, encoding="utf-8")
    write_json(folder / "eval" / "test.json", make_result(clusters) if result is None else result)
    return ExpertSet.load(folder)


@pytest.fixture
def with_router(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRouter]:
    """Give a run a router that costs nothing."""

    def give(experts: ExpertSet, **options: Any) -> FakeRouter:
        router = FakeRouter(experts, **options)
        monkeypatch.setattr(routing, "router_of", lambda _: router)
        return router

    return give


def read(experts: ExpertSet) -> str:
    return write_report(experts).read_text(encoding="utf-8")


def ledger_line(code: str, expert: str, donor: str, **changes: Any) -> LedgerEntry:
    fit = TokenizerFit(1.0, 5.5, 0.0, 0.0)
    line = LedgerEntry(
        language=code,
        expert=expert,
        kind="new",
        donor=donor,
        reason="It has the least loss.",
        candidates=[
            DonorCandidate("base", None, None, None, None, 2.9),
            DonorCandidate(donor, 0.25, "deu", 0.031, None, 2.7),
        ],
        replay=0.25,
        tokens=1000,
        bytes=800,
        sha256="0",
        tokenizer=TokenizerCheck(fit, {"deu": fit}, []),
    )
    return dataclasses.replace(line, **changes)


class Page(HTMLParser):
    """Open elements must be closed in order, and nothing may be loaded from anywhere."""

    VOID = ("meta", "input", "wbr", "br", "img", "link")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "srcset", "data", "action")]
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()


def test_page_loads_nothing_and_is_well_formed(tmp_path: Path, with_router: Callable[..., FakeRouter]) -> None:
    experts = make_run(tmp_path)
    with_router(experts)
    html = read(experts)
    page_ = Page(html)
    assert all(address.startswith("#") for address in page_.addresses) and page_.addresses
    assert not {"script", "link", "img", "iframe", "object"} & set(page_.tags)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert len(page_.ids) == len(set(page_.ids))


def test_written_twice_gives_the_same_bytes_wherever_the_run_lies(
    tmp_path: Path, with_router: Callable[..., FakeRouter]
) -> None:
    first, second = make_run(tmp_path / "one"), make_run(tmp_path / "two" / "deeper")
    with_router(first)
    pages = [write_report(experts).read_bytes() for experts in (first, first, second)]
    assert pages[0] == pages[1] == pages[2]
    assert str(tmp_path).encode() not in pages[0]


def test_names_every_language_and_expert(tmp_path: Path, with_router: Callable[..., FakeRouter]) -> None:
    experts = make_run(tmp_path)
    with_router(experts)
    html = read(experts)
    shown = html.replace("<wbr>", "")
    for name in experts.names:
        assert name in shown
    for code in experts.languages:
        assert name_of(code) in html and TEXTS[code][:20] in html
    assert 'lang="ar"' in html and 'lang="ja"' in html and 'dir="auto"' in html


def test_hostile_text_stays_text(tmp_path: Path, with_router: Callable[..., FakeRouter]) -> None:
    line = ledger_line("afr", "c1-deu-nld", "<b>donor<b>", reason=HOSTILE.replace("\ud800", ""))
    packages = {"<i>torch</i>": "<u>1</u>"}
    experts = make_run(
        tmp_path, texts=dict.fromkeys(TEXTS, HOSTILE.replace("\ud800", "")), ledger=[line], packages=packages
    )
    with_router(experts, answer=HOSTILE.replace("\ud800", ""))
    html = read(experts)
    assert not {"script", "img", "b>donor", "u"} & set(Page(html).tags)
    assert "&lt;script&gt;" in html and "\x00" not in html and "\x1b" not in html


def test_samples_are_made_once_and_again_when_a_text_changes(
    tmp_path: Path, with_router: Callable[..., FakeRouter]
) -> None:
    experts = make_run(tmp_path)
    router = with_router(experts)
    html = read(experts)
    read(experts)
    assert router.num_generated == len(TEXTS)
    assert html.count("und so weiter</span>") == len(TEXTS)  # the half character at the end is gone
    make_run(tmp_path, texts={**TEXTS, "deu": "Ein ganz anderer Satz steht heute hier."})
    read(experts)
    assert router.num_generated == len(TEXTS) + 1  # only the one that changed


def test_samples_of_an_older_form_are_made_again(tmp_path: Path, with_router: Callable[..., FakeRouter]) -> None:
    experts = make_run(tmp_path)
    router = with_router(experts)
    old = [{"language": "deu", "expert": "c1-deu-nld", "prompt": "Es", "text": "war"}]
    (tmp_path / "eval").mkdir(exist_ok=True)
    (tmp_path / "eval" / "samples.json").write_text(json.dumps({"samples": old}), encoding="utf-8")
    read(experts)
    assert router.num_generated == len(TEXTS)


def test_samples_are_capped_with_every_expert_among_them(
    tmp_path: Path, with_router: Callable[..., FakeRouter]
) -> None:
    near = ["deu", "nld", "eng", "swe", "dan", "nob", "isl", "fra", "spa", "ita", "por", "ron", "cat", "glg"]
    many = [*near, "rus", "ukr", "bel", "pol", "ces", "slk", "slv", "hrv", "srp", "bul", "mkd"]
    clusters = {"c1": many, "c2": ["jpn"], "c3": ["kor"]}
    experts = make_run(tmp_path, clusters, dict.fromkeys([*many, "jpn", "kor"], "A sentence of its own."))
    router = with_router(experts)
    html = read(experts)
    assert router.num_generated == 24
    kept = json.loads((tmp_path / "eval" / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert {"jpn", "kor"} <= {row["language"] for row in kept}
    assert "3 more have no sample here" in html


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.9, "It helped"), (1.1, "It did not help: the dense model is better in all")]
)
def test_verdict_follows_the_numbers(tmp_path: Path, factor: float, verdict: str) -> None:
    facts = Facts.of(make_run(tmp_path, result=make_result(CLUSTERS, factor)))
    values = headline(facts)
    assert values["verdict"].startswith(verdict)
    gains = [row["gain"] for row in values["bars"]["rows"]]
    np.testing.assert_allclose(gains, 100 * (1 - factor), rtol=1e-9)
    assert "equally many training tokens (3,000)" in values["sentence"]


def test_unequal_budgets_are_told(tmp_path: Path) -> None:
    dense = ModelEntry(list(TEXTS), "base", tokens=1234, state="done")
    sentence = headline(Facts.of(make_run(tmp_path, dense=dense)))["sentence"]
    assert "3,000 training tokens against 1,234 for dense" in sentence


def test_added_languages_are_shown_but_not_counted(tmp_path: Path) -> None:
    clusters = {**CLUSTERS, "c4-afr": ["afr"]}
    line = ledger_line("afr", "c4-afr", "c1-deu-nld")
    dense = ModelEntry(list(TEXTS), "base", tokens=3000, state="done")
    experts = make_run(tmp_path, clusters, ledger=[line], dense=dense)
    values = headline(Facts.of(experts))
    assert "afr" not in [row["language"].code for row in values["bars"]["rows"]]
    assert "equally many training tokens (3,000)" in values["sentence"]
    assert any(note.startswith("Afrikaans was added later") for note in values["notes"])
    html = read(experts)
    assert "Languages added later" in html and "before: c1-deu-nld, the donor" in html and "3.1 %" in html
    assert "xelm add afr --data afr.jsonl --run RUN --donor c1-deu-nld --replay 0.25 --tokens 1000" in html


def test_what_an_added_language_costs_its_relatives_is_shown_with_the_repair(tmp_path: Path) -> None:
    clusters = {**CLUSTERS, "c4-afr": ["afr"]}
    bits = {"afr": BeforeAfter(3.0, 2.02), "nld": BeforeAfter(2.0, 2.006), "deu": BeforeAfter(2.0, 2.0)}
    unrepaired = {"afr": 2.0, "nld": 2.04, "deu": 2.0}
    line = ledger_line("afr", "c4-afr", "c1-deu-nld", bits_per_byte=bits, prior=-1.0, unrepaired=unrepaired)
    html = read(make_run(tmp_path, clusters, ledger=[line]))
    table = html[html.index("What it costs older languages") : html.index("Repair: ")]
    assert "<td>+2.00</td><td>+0.30</td>" in table and "German" not in table
    assert "the odds of Afrikaans are divided by 2.7" in html and "it pays +1.00 %" in html
    plain = ledger_line("afr", "c4-afr", "c1-deu-nld", bits_per_byte=bits | {"nld": BeforeAfter(2.0, 2.0)})
    assert "What it costs older languages" not in read(make_run(tmp_path / "plain", clusters, ledger=[plain]))


def test_copes_without_dense(tmp_path: Path) -> None:
    experts = make_run(tmp_path, result=make_result(CLUSTERS, dense=False), dense=None)
    html = read(experts)
    assert "No dense baseline, so no verdict" in html and "There is no dense baseline" in html
    assert heat_map(Facts.of(experts))["baseline"] == "base"  # type: ignore[index]


def test_copes_with_nothing_but_plan_and_models(tmp_path: Path) -> None:
    experts = make_run(tmp_path, {"c1-deu": ["deu"]}, texts={}, dense=None, data={}, packages={})
    for file in (tmp_path / "eval" / "test.json", *tmp_path.rglob("training.json"), *tmp_path.rglob("heldout/*")):
        file.unlink()
    html = read(experts)
    Page(html)
    for missing in ("Not measured", "no training curves", "not evaluated", "no router", "No samples", "not recorded"):
        assert missing in html, missing
    assert "Languages added later" not in html


def test_copes_with_a_language_without_test_text(tmp_path: Path, with_router: Callable[..., FakeRouter]) -> None:
    result = make_result(CLUSTERS)
    for table in (*result["models"].values(), *result["routed"].values(), result["right_expert"]):
        table.pop("jpn")
    experts = make_run(tmp_path, texts={c: t for c, t in TEXTS.items() if c != "jpn"}, result=result)
    with_router(experts)
    html = read(experts)
    assert "No test text, so not counted: Japanese." in html and "No held-out text: Japanese." in html
    assert "all 4 languages" in html


def test_plan_without_distances_has_no_tree(tmp_path: Path) -> None:
    experts = make_run(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    write_json(tmp_path / "plan.json", {**plan, "distances": None, "linkage": None, "typology": {}, "quality": {}})
    assert "there is no tree to draw" in read(ExpertSet.load(experts.path))


def test_heat_map_marks_the_own_expert_and_compares_with_dense(tmp_path: Path) -> None:
    heat = heat_map(Facts.of(make_run(tmp_path)))
    assert heat is not None
    columns = [column["name"] for column in heat["columns"]]
    assert columns == ["base", "dense", *CLUSTERS, "top1", "ensemble", "bayes"]
    for row in heat["rows"]:
        own = [name for name, cell in zip(columns, row["cells"], strict=True) if cell["own"]]
        assert own == [row["language"].expert]
        changes = {name: cell["change"] for name, cell in zip(columns, row["cells"], strict=True)}
        assert (changes["base"], changes["dense"], changes[own[0]]) == ("+5.0", "0.0", "−10.0")
        assert row["gain"] == pytest.approx(10.0)


def test_shade_grows_with_the_difference_and_is_symmetric() -> None:
    changes = (None, 0.0, 0.9, 1.0, 4.0, 10.0, 30.0, 99.0)
    assert [shade(change) for change in changes] == ["n", "n", "n", "w1", "w2", "w3", "w4", "w5"]
    assert [shade(-x) for x in (0.9, 1.0, 99.0)] == ["n", "b1", "b5"]


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"path": 'a "quoted" \\ path\x7f 語\x1b', "languages": ["deu", "ell"]}},
        {
            "train": {
                "enters": {"Scottish Gaelic": 0.5, "srp_Latn": 0.25, "日本語": 0.1, 'a"b': 0.3, "": 0.2, "a.b": 0.4}
            }
        },
        {"train": {"learning_rate": 1e-7, "weight_decay": 0.0, "mask_rates": (0.5,), "min_learning_rate_ratio": 1.0}},
        {"expert": {"kind": "lora", "targets": ("q_proj", "v_proj")}},
    ],
    ids=["path", "enters", "numbers", "targets"],
)
def test_recipe_reads_back_from_its_toml(tmp_path: Path, changes: dict[str, dict[str, Any]]) -> None:
    table = make_run(tmp_path).manifest.recipe
    for section, keys in changes.items():
        table[section] |= keys
    assert Recipe.from_dict(tomllib.loads(making.to_toml(table))) == Recipe.from_dict(table)


def test_the_recipe_on_the_page_is_toml_that_makes_the_run_again(
    tmp_path: Path, with_router: Callable[..., FakeRouter]
) -> None:
    table = make_run(tmp_path).manifest.recipe
    table["train"]["enters"] = {"Scottish Gaelic": 0.5}
    table["data"]["path"] = "<corpus> & 'more'"
    experts = make_run(tmp_path, recipe=table)
    with_router(experts)
    blocks = [unescape(block) for block in re.findall(r"<pre[^>]*><code>(.*?)</code>", read(experts), re.DOTALL)]
    (recipe,) = [block for block in blocks if "[train]" in block]
    assert Recipe.from_dict(tomllib.loads(recipe)) == Recipe.from_dict(table)


def test_charts_hold_every_point_inside_the_frame() -> None:
    lines = [Line("a", [(0.0, 3.0), (10.0, 1.0)], "#123456"), Line("b <i>", [(25.0, 2.0)], dashed=True)]
    svg = str(line_chart(lines, title="t", x_label="x", y_label="y"))
    courses = re.findall(r'points="([^"]+)"', svg)
    places = [tuple(map(float, pair.split(","))) for course in courses for pair in course.split()]
    assert len(places) == 2 * 3  # each point raw and smoothed
    assert all(0 <= x <= 520 and 0 <= y <= 300 for x, y in places)
    assert "b &lt;i&gt;" in svg


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.31, 2.35), (0.0, 3e9), (-1.0, 7.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6 and found[0] >= low - 1e-9 and found[-1] <= high + 1e-9


def test_text_is_cut_between_words_and_never_inside_a_letter() -> None:
    assert text.first_sentence("Eins. Zwei und drei sind vier. Fünf.", 100) == "Eins. Zwei und drei sind vier."
    assert text.first_sentence("祖母は毎週金曜日にパンを焼く。粉の量。", 100) == "祖母は毎週金曜日にパンを焼く。"
    assert text.cut("alpha beta gamma", 12) == "alpha beta"
    assert text.cut("a" * 5 + "e\u0301x", 6) == "a" * 5
    assert text.first_sentence("3.14 is nearly the number pi, they say", 100).endswith("say")


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0"), (999, "999"), (1000, "1 k"), (16_384, "16.4 k"), (999_999, "1 M"), (1.5e9, "1.5 G")]
)
def test_compact_numbers(number: float, shown: str) -> None:
    assert text.compact(number) == shown


def test_minus_is_a_minus_and_zero_has_no_sign() -> None:
    assert (text.signed(-0.04), text.signed(-1.25), text.signed(2)) == ("0.0", "−1.2", "+2.0")


def test_a_failed_write_leaves_the_page_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experts = make_run(tmp_path)
    before = read(experts)
    monkeypatch.setattr(page, "render", lambda _: "\ud800")
    with pytest.raises(UnicodeEncodeError):
        write_report(experts)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert not list(tmp_path.glob(".partial-*"))


def test_real_models_are_routed_and_continued(tmp_path: Path) -> None:
    folder = made_runs.make_run(tmp_path, "full")
    for code, texts in made_runs.TEXTS.items():
        rows = [{"id": i, "split": "test", "text": sentence} for i, sentence in enumerate(texts)]
        write_jsonl(folder / "eval" / "heldout" / f"{code}.jsonl", rows)
    experts = ExpertSet.load(folder)
    html = read(experts)
    assert html.count("✓ ") == 3
    kept = (folder / "eval" / "samples.json").read_bytes()
    assert all(row["text"] for row in json.loads(kept)["samples"])
    (folder / "eval" / "samples.json").unlink()
    assert read(experts) == html
    assert (folder / "eval" / "samples.json").read_bytes() == kept
