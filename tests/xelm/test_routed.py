"""A run answers with the experts that its texts call for, whatever the text is, or says what is wrong."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from router.routes.weigh import RoutingRule
from tests.xelm.made_runs import CONTEXT, OWNERS, TEXTS, bare, make_run
from xelm.inference.routed import RoutedLM

MIXED = [TEXTS["rus"][0], TEXTS["deu"][0], TEXTS["nld"][0], TEXTS["rus"][1], TEXTS["deu"][1][:20]]
OWNER_OF_MIXED = ["russian", "german", "dutch", "russian", "german"]
NO_LETTERS = ["", "\U0001f600\U0001f680", "12 + 7 = 19", "\ud800"]


@pytest.fixture(scope="module", params=["full", "lora"])
def run(request, tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.getbasetemp(), request.param)


@pytest.fixture(scope="module")
def full_run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.getbasetemp(), "full")


@pytest.fixture(scope="module")
def lm(run) -> RoutedLM:
    return RoutedLM.from_pretrained(run, device="cpu")


@pytest.fixture
def copied(full_run, tmp_path) -> Path:
    return Path(shutil.copytree(full_run, tmp_path / "run"))


def bare_answer(lm, run, name, prompt, **options):
    import torch

    ids = [lm.tokenizer.bos_token_id, *lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        output = bare(run, name).generate(input_ids=torch.tensor([ids]), do_sample=False, **options)
    return lm.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)


def test_losses_on_the_first_tokens_of_a_language_decide_for_its_later_texts(full_run):
    lm = RoutedLM.from_pretrained(full_run, device="cpu")
    spanish = "Ayer los niños jugaron en la plaza mientras llovía y sus madres hablaban con el panadero."
    french = "Hier les enfants ont joué sur la place pendant que leurs mères parlaient avec le boulanger."
    assert lm.probe([TEXTS["deu"][0], "12"]) == {}
    losses = lm.probe([spanish])
    assert set(losses) == set(lm.names) and all(set(row) == {"spa"} for row in losses.values())
    first = {name: lm.score([spanish.encode()[:64].decode()], name)[0].bits_per_byte for name in lm.names}
    assert {name: row["spa"] for name, row in losses.items()} == pytest.approx(first, rel=1e-4)
    probed = {name: row["spa"] * (1 if name == "base" else 1.02) for name, row in losses.items()}
    [route, other] = lm.route(["Los niños hablaban con sus madres en la plaza del pueblo.", french])
    assert max(route.weights, key=route.weights.get) == min(probed, key=probed.get)
    assert "by the models' loss on a few texts of it" in route.reason
    assert other.language == "fra" and other.weights["base"] > 0.999


def test_each_text_goes_to_its_own_expert(lm):
    routes = lm.route(MIXED)
    assert [max(route.weights, key=route.weights.get) for route in routes] == OWNER_OF_MIXED
    assert [route.language for route in routes] == [OWNERS[name] for name in OWNER_OF_MIXED]


def test_the_base_answers_in_a_language_no_expert_owns_unless_told_otherwise(run, lm):
    spanish = "Ayer los niños jugaron en la plaza mientras llovía y sus madres hablaban con el panadero."
    [route] = lm.route([spanish])
    assert route.language == "spa" and route.weights["base"] > 0.999
    assert route.reason.endswith("No expert was trained on it; base answers.")
    [closed] = RoutedLM.from_pretrained(run, device="cpu", languages="run").route([spanish])
    assert closed.language in OWNERS.values() and closed.confidence < 0.1
    assert lm.complete([spanish], max_new_tokens=2)[0].route == route
    spans = lm.route([f"{TEXTS['rus'][0]} {spanish}"], spans=True)[0]
    assert [span.route.language for span in spans] == ["rus", "spa"]
    with pytest.raises(BadInput, match="languages='all': choose open or run"):
        RoutedLM.from_pretrained(run, languages="all")


def test_mixed_batch_answers_as_each_expert_alone(lm, run):
    answers = lm.generate(MIXED, max_new_tokens=10)
    alone = [
        bare_answer(lm, run, name, text, max_new_tokens=10) for name, text in zip(OWNER_OF_MIXED, MIXED, strict=True)
    ]
    assert answers == alone
    assert len(set(alone)) > 1


def test_named_expert_answers_everything(lm, run):
    assert lm.generate([TEXTS["rus"][0]], policy="dutch", max_new_tokens=8) == [
        bare_answer(lm, run, "dutch", TEXTS["rus"][0], max_new_tokens=8)
    ]


@pytest.mark.parametrize("policy", ["top1", "topm", "ensemble", "bayes", "base"])
def test_streamed_pieces_are_the_answer(lm, policy):
    whole = lm.generate([MIXED[0]], policy=policy, max_new_tokens=12)[0]
    pieces = list(lm.stream(MIXED[0], policy=policy, max_new_tokens=12))
    assert "".join(pieces) == whole and all(pieces)


def test_stream_can_be_left_and_errors_reach_the_reader(lm):
    stream = lm.stream(MIXED[1], max_new_tokens=60)
    next(stream)
    stream.close()
    with pytest.raises(BadInput, match="read at most"):
        list(lm.stream("a" * CONTEXT))
    with pytest.raises(BadInput, match="num_beams"):
        next(lm.stream("a", num_beams=2))


def test_completion_ends_before_a_stop_text_and_says_so(lm):
    [free] = lm.complete([MIXED[0]], max_new_tokens=20)
    stop = free.text[4:6]
    [cut] = lm.complete([MIXED[0]], max_new_tokens=20, stops=[stop])
    assert cut.text == free.text[: free.text.index(stop)] and cut.ended
    assert "".join(lm.stream(MIXED[0], max_new_tokens=20, stops=[stop])) == cut.text
    assert free.num_prompt_tokens == 1 + len(MIXED[0].encode()) and len(cut.tokens) <= len(free.tokens)


def test_topm_keeps_m_and_m_is_for_topm_only(lm):
    weights_BK = lm.weights(MIXED, "topm", m=3)
    assert ((weights_BK > 0).sum(1) <= 3).all() and np.allclose(weights_BK.sum(1), 1)
    assert lm.score(MIXED[:1], "topm", m=1)[0].nats == pytest.approx(lm.score(MIXED[:1], "top1")[0].nats)
    with pytest.raises(BadInput, match="m=2 is for the policy topm"):
        lm.generate(MIXED, policy="ensemble", m=2)


def test_spans_cover_the_text_and_each_is_scored_by_its_own_expert(lm):
    text = f"{TEXTS['deu'][0]} {TEXTS['rus'][0]}"
    [spans] = lm.route([text], spans=True)
    assert "".join(text[span.start : span.stop] for span in spans) == text
    assert [span.route.language for span in spans] == ["deu", "rus"]
    [by_span], [german], [russian] = (
        lm.score([text], "top1", spans=True),
        lm.score([text], "german"),
        lm.score([text], "russian"),
    )
    assert by_span.tokens == german.tokens and by_span.bytes == len(text.encode())
    assert by_span.nats not in (german.nats, russian.nats)
    assert lm.route([""], spans=True) == [[]] and lm.score([""], spans=True)[0].nats == 0


@pytest.mark.parametrize("text", NO_LETTERS)
def test_text_without_letters_claims_no_language_and_still_answers(lm, text):
    [route] = lm.route([text])
    assert route.language is None and route.confidence == 0
    assert sum(route.weights.values()) == pytest.approx(1)
    assert isinstance(lm.generate([text], max_new_tokens=3)[0], str)
    [score] = lm.score([text])
    assert math.isfinite(score.nats) and score.bytes == len(text.encode("utf-8", "replace")) + 2 * ("\ud800" in text)


def test_a_silent_text_goes_to_the_fallback_under_a_threshold(full_run):
    lm = RoutedLM.from_pretrained(full_run, device="cpu", rule=RoutingRule(threshold=0.5, fallback="base"))
    assert lm.weights([""], "top1")[0].tolist() == [0, 0, 0, 1]


def test_a_megabyte_of_text_is_routed_and_long_text_is_scored_whole(lm):
    assert lm.route([" ".join(TEXTS["deu"]) * 10_000])[0].language == "deu"
    text = " ".join(TEXTS["rus"]) * 3
    assert lm.score([text], "top1")[0].tokens == len(text.encode())


def test_nothing_in_nothing_out(lm):
    assert lm.route([]) == lm.score([]) == lm.generate([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: lm.generate(["a" * CONTEXT]), "Prompt 0 has 161 tokens; the experts read at most 160"),
        (lambda lm: lm.generate(["a"], policy="ensembel"), "Did you mean ensemble"),
        (lambda lm: lm.score(["a"], policy="topm:0"), "at least 1"),
        (lambda lm: lm.as_causal_lm("nobody"), "Unknown policy 'nobody'"),
        (lambda lm: lm.route("text"), r"write \[text\]"),
        (lambda lm: lm.generate([b"bytes"]), "text 0 is a bytes"),
        (lambda lm: lm.generate(["a"], policy=None), "policy=None"),
    ],
)
def test_bad_arguments_say_what_is_wrong(lm, call, message):
    with pytest.raises(BadInput, match=message):
        call(lm)


@pytest.mark.parametrize(
    ("placement", "message"), [({"dtype": "int3"}, "dtype='int3'"), ({"device": "abacus"}, "device='abacus'")]
)
def test_unknown_placements_are_refused(full_run, placement, message):
    with pytest.raises(BadInput, match=message):
        RoutedLM.from_pretrained(full_run, **placement).generate(["a"])


def test_dtype_and_device_map_reach_the_models(run):
    import torch

    lm = RoutedLM.from_pretrained(run, device_map={"": "cpu"}, dtype="bfloat16")
    assert next(lm.models.get("german").parameters()).dtype == torch.bfloat16


def test_at_most_max_loaded_experts_stay_and_answers_do_not_change(full_run):
    capped = RoutedLM.from_pretrained(full_run, device="cpu", max_loaded=1)
    free = RoutedLM.from_pretrained(full_run, device="cpu")
    assert capped.generate(MIXED, max_new_tokens=5) == free.generate(MIXED, max_new_tokens=5)
    assert len(capped.models.loaded) == 1
    assert [s.nats for s in capped.score(MIXED)] == [s.nats for s in free.score(MIXED)]
    with pytest.raises(BadInput, match="max_loaded=1"):
        capped.as_causal_lm()


def test_lora_experts_share_one_base_in_memory(tmp_path_factory):
    run = make_run(tmp_path_factory.getbasetemp(), "lora")
    lm = RoutedLM.from_pretrained(run, device="cpu")
    lm.generate(MIXED, max_new_tokens=2)
    bases = {id(lm.models.get(name).get_base_model()) for name in lm.names}
    assert len(bases) == 1


@pytest.mark.parametrize("name", ["experts/russian/model.safetensors", "router/ngrams.safetensors", "plan.json"])
@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_harmed_files_are_named_with_the_remedy(copied, name, harm):
    file = copied / name
    if harm == "missing":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[-10] ^= 1
        file.write_bytes(data)
    with pytest.raises(BadInput, match=rf"{name}: {harm}.*xelm verify"):
        RoutedLM.from_pretrained(copied, device="cpu").generate([TEXTS["rus"][0]], max_new_tokens=1)


def test_other_experts_answer_while_one_is_harmed(copied):
    (copied / "experts" / "russian" / "model.safetensors").unlink()
    assert RoutedLM.from_pretrained(copied, device="cpu").generate([TEXTS["deu"][0]], max_new_tokens=1)


def test_a_harmed_adapter_is_named(tmp_path, tmp_path_factory):
    run = Path(shutil.copytree(make_run(tmp_path_factory.getbasetemp(), "lora"), tmp_path / "run"))
    file = run / "experts" / "dutch" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(BadInput, match=r"dutch/adapter_model.safetensors: changed.*xelm verify"):
        RoutedLM.from_pretrained(run, device="cpu").generate([TEXTS["deu"][0]])


def test_no_run_is_said_plainly(tmp_path):
    with pytest.raises(BadInput, match="no xelm run"):
        RoutedLM.from_pretrained(tmp_path)
