"""Messages name arguments as the one who reads them writes them."""

from __future__ import annotations

import logging

import pytest

from clustering import cluster_languages, rank_sources
from clustering import progress as progress_module
from clustering.errors import NO_VALUE, BadInput, arg, refuse_text
from clustering.languages.codes import to_codes
from clustering.progress import show_progress


def _shouted(name: str, value: object) -> str:
    return name.upper() if value is NO_VALUE else f"{name.upper()}({value})"


def test_an_argument_is_spelled_by_whoever_shows_the_message() -> None:
    error = BadInput(f"{arg('k', 0)} needs {arg('texts')}, {arg('way', 'ward')} or {arg('file', 'a{b}c%')}.")
    assert str(error) == "k=0 needs texts=, way='ward' or file='a{b}c%'."
    assert error.spelled(_shouted) == "K(0) needs TEXTS, WAY(ward) or FILE(a{b}c%)."
    assert str(BadInput(f"wrapped: {error}")) == f"wrapped: {error}"


@pytest.mark.parametrize("value", ["\ue0a2\ue0a0", 'a "b"', "日本", ["x", 1], None, True, 1.5])
def test_any_value_comes_back_whole(value: object) -> None:
    assert BadInput(arg("v", value)).spelled(lambda name, found: repr(found)) == repr(value)


@pytest.mark.parametrize(
    ("call", "written"),
    [
        (lambda: rank_sources("swa", candidates="eng"), 'write ["eng"]'),
        (lambda: cluster_languages("deu", 1), 'write ["deu"]'),
        (lambda: to_codes("sw"), 'write ["sw"]'),
        (lambda: cluster_languages(["deu"], 1, "tfidf", texts={"deu": "Haus"}), 'write ["Haus"]'),
        (lambda: refuse_text("texts", b"ab"), "give a list"),
    ],
)
def test_a_text_in_place_of_a_list_is_refused_with_the_list(call: object, written: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()  # type: ignore[operator]
    assert written in str(caught.value)


def test_progress_in_a_file_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert list(show_progress([1, 2, 3], desc="read", unit="file")) == [1, 2, 3]
    assert caplog.messages == []
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0.0)
    with show_progress(total=2000, desc="base", unit="tok", unit_scale=True) as bar:
        bar.set_postfix(loss="1.2")
        bar.update(1000)
    assert caplog.messages == ["base: 1,000 of 2,000 tok, loss 1.2"]


@pytest.mark.parametrize("how", ["-q", "TQDM_DISABLE"])
def test_progress_is_silent_where_quiet_is_asked_for(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    if how == "-q":
        monkeypatch.setattr(logging.getLogger("xelm"), "level", logging.WARNING)
    else:
        monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(show_progress(range(3), desc="read", unit="file")) == [0, 1, 2]
    assert caplog.messages == []
