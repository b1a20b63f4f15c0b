"""RoutedLM: a run that answers. Text in any of its languages goes to the right experts."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from clustering.errors import BadInput, arg
from router.generation_options import check_options
from router.routes.policy import Policy, parse_policy
from router.routes.weigh import Route, RoutingRule
from router.scoring.growing import GrowingWeights
from router.scoring.texts import Score
from router.scoring.tokens import ScoringOptions, context_of
from router.texts import as_texts
from xelm.inference.able import check_follows_text, check_generates
from xelm.inference.completions import Completion, as_set, complete_ids
from xelm.inference.files import check_opening
from xelm.inference.growing import check_routing, prefixes_of
from xelm.inference.models import Placement, open_models
from xelm.inference.probe import Probes
from xelm.inference.pseudo import pseudo_scores
from xelm.inference.run_router import RunRouter
from xelm.inference.scoring import Scorer
from xelm.inference.stops import as_stops
from xelm.inference.stream import stream_text
from xelm.models.foreign import unusable_reported
from xelm.run.experts import ExpertSet, local_run
from xelm.run.names import BASE
from xelm.run.snapshot import Follow, read_whole
from xelm.vocabulary.byte_mixture import ByteMixture

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from xelm.inference.causal_lm import RoutedForCausalLM
    from xelm.objectives.prompting import Prompting

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoutedSpan:
    """A part of a text in one language, with its route.

    Attributes:
        start: Index of the first character.
        stop: Index one past the last character.
        route: The route of `text[start:stop]`.
    """

    start: int
    stop: int
    route: Route


class RoutedLM:
    """Routed inference over the experts of a run.

    Texts and prompts may come from any iterable of strings, which is read once. It can be pickled and sent to another
    process, which opens the same run folder again, with the same settings.

    Text may be anything that a Python string holds. Without letters (empty, digits, emoji) no language is claimed
    (`Route.language` is None, confidence 0); lone surrogates are read as U+FFFD; text longer than the context is
    scored in overlapping windows, a prompt that leaves no room for an answer is refused.

    Example:
        >>> lm = RoutedLM.from_pretrained("runs/a")
        >>> lm.route(["Guten Morgen"])[0].language
        'deu'
        >>> lm.generate(["Guten Morgen"], max_new_tokens=20)
    """

    def __init__(
        self, experts: ExpertSet, *, rule: RoutingRule | None = None, languages: str = "open", **placement: Any
    ):
        """Answer from an open run, whose files are trusted unless `check_files=True` (fields of `Placement`)."""
        self._options: dict[str, Any] = {"rule": rule, "languages": languages, **placement}
        self.experts = experts
        self._router = RunRouter(experts, rule=rule, languages=languages)
        self.names = self._router.names
        self.vocabularies = self._router.vocabularies
        self.identifier = self._router.identifier
        self._probes = Probes()
        self._placement = Placement(**{"check_files": False, **placement})
        self._opening = threading.Lock()
        self._opened: Any = None
        self._follow: Follow | None = None

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        device_map: Any = None,
        dtype: Any = "auto",
        max_loaded: int | None = None,
        max_bytes: int | None = None,
        check_files: bool = True,
        rule: RoutingRule | None = None,
        languages: str = "open",
    ) -> RoutedLM:
        """Open a run; experts are loaded when they are first needed.

        Args:
            run: Run directory, or hub id of one.
            device: As for torch (`cpu`, `cuda:0`); `auto` takes a GPU where there is one.
            device_map: As for transformers' `from_pretrained`, instead of `device`.
            dtype: Of the weights (`bfloat16`, …); `auto` keeps the checkpoint's.
            max_loaded: Most experts in memory at a time; the least recently used one is dropped. None: no limit. LoRA
                experts share one base and are not counted.
            max_bytes: The same in bytes; one expert is always allowed.
            check_files: Compare files with their checksums before they are used.
            rule: Temperatures, threshold and fallback of the routing.
            languages: `open`: a text may be in a language that no expert owns; the base then answers, unless losses
                say otherwise (`probe`); `run`: every text counts as one of the run's languages.

        Raises:
            BadInput: If it is no run, a file of it is missing or changed, or `languages` is neither.
        """
        options: dict[str, Any] = {
            "rule": rule,
            "languages": languages,
            "device": device,
            "device_map": device_map,
            "dtype": dtype,
            "max_loaded": max_loaded,
            "max_bytes": max_bytes,
            "check_files": check_files,
        }
        folder = local_run(run)

        def read() -> RoutedLM:
            if check_files:
                check_opening(folder)
            return cls(ExpertSet.load(folder), **options)

        follow = Follow.of(folder)
        lm = read_whole(folder, read)
        lm._follow = follow
        return lm

    def refresh(self) -> bool:
        """Open the run again if another process changed it since `from_pretrained`; every call that routes asks this.

        Returns:
            Whether it was opened again: its languages and experts may have changed.

        Raises:
            BadInput: If the changed run cannot be opened.
        """
        if self._follow is None or not self._follow.changed():
            return False
        with self._opening:
            follow = Follow.of(self.experts.path)
            fresh = RoutedLM.from_pretrained(self.experts.path, **self._options)
            kept = {"_opening": self._opening}
            for name in ("tokenizer", "end_tokens", "context"):
                self.__dict__.pop(name, None)
            self.__dict__.update({**fresh.__dict__, **kept, "_follow": follow})
        logger.warning("%s: another process changed the run; it was opened again.", self.experts.path)
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the settings, not the models in memory, locks and threads."""
        return _open, (str(self.experts.path), {"check_files": False, **self._options})

    def __repr__(self) -> str:
        return f"RoutedLM({str(self.experts.path)!r}, experts={self.names})"

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The run's tokenizer; it puts the start token first, as `generate` and `score` do.

        An expert with a vocabulary of its own reads with another one: `vocabularies.tokenizer(name)`.
        """
        return self.vocabularies.tokenizer()

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens at which answers end: the tokenizer's, and those of the experts' generation settings."""
        from transformers import GenerationConfig

        folder = self.experts.folder(BASE)
        configured = (folder / "generation_config.json").is_file()
        with unusable_reported(str(folder)):
            more = GenerationConfig.from_pretrained(folder).eos_token_id if configured else None
            return frozenset(as_set(self.tokenizer.eos_token_id) | as_set(more))

    @cached_property
    def context(self) -> int:
        """Largest number of tokens that an expert reads, prompt and answer together."""
        from transformers import AutoConfig

        folder = self.experts.folder(BASE)
        with unusable_reported(str(folder)):
            return context_of(SimpleNamespace(config=AutoConfig.from_pretrained(folder)))

    @property
    def models(self) -> Any:
        """The models by name, loaded when they are first needed: an `ExpertPool`, or a `LoraSource` on a shared base.

        Raises:
            BadInput: If models of the experts' objective cannot generate (masked models).
        """
        check_generates(self.experts)
        return self._pool()

    def _pool(self) -> Any:
        with self._opening:
            if self._opened is None:
                self._opened = open_models(self.experts, self.names, self._placement)
            return self._opened

    @overload
    def route(self, texts: Iterable[str], *, spans: Literal[False] = False) -> list[Route]: ...
    @overload
    def route(self, texts: Iterable[str], *, spans: Literal[True]) -> list[list[RoutedSpan]]: ...
    def route(self, texts: Iterable[str], *, spans: bool = False) -> list[Route] | list[list[RoutedSpan]]:
        """Find where each text goes: its language, the confidence, weights over experts, and a sentence that says why.

        Args:
            texts: Any texts.
            spans: Cut each text where its language changes, and route the parts.

        Returns:
            A `Route` for each text; with `spans` a list of `RoutedSpan` that cover the text (none if it is empty).

        Raises:
            BadInput: If `texts` is no list of strings.
        """
        texts = as_texts(texts)
        self.refresh()
        if not spans:
            return self._router.routes(texts)
        cuts = [self._router.cut(text) for text in texts]
        return [
            [RoutedSpan(span.start, span.stop, route) for span, route in zip(its_cuts, its_routes, strict=True)]
            for its_cuts, its_routes in zip(cuts, self._router.span_routes(texts, cuts), strict=True)
        ]

    def probe(self, texts: Iterable[str]) -> dict[str, dict[str, float]]:
        """Ask the models which of them reads languages best that no expert was trained on.

        The base answers in such languages until the models' own losses on the first tokens of texts in them say
        otherwise. What was read is kept with this object, language by language, and decides its later routes.

        Args:
            texts: Texts; those in languages of the run, or without letters, are not read.

        Returns:
            Model -> language -> bits per byte of all that was probed so far.

        Raises:
            BadInput: If `texts` is no list of strings, or the models neither generate nor score.
        """
        texts = as_texts(texts)
        self.refresh()
        check_follows_text(self.experts, "probe")
        if foreign := list(self._router.foreign(texts)):
            codes, chosen = zip(*foreign, strict=True)
            self._probes.add(codes, chosen, self.tokenizer, self.names, self._model)
            self._router.learn(self._probes.losses())
        return self._probes.losses()

    def weights(self, texts: Iterable[str], policy: str = "top1", *, m: int | None = None) -> np.ndarray:
        """Weights of `names` that answer under a policy, shape (texts, names), rows summing to 1.

        Raises:
            BadInput: If the policy is unknown.
        """
        return self._router.weights(self.route(texts), self.policy(policy, m))

    def policy(self, policy: str, m: int | None = None) -> Policy:
        """The policy of a name, which may also be an expert's.

        Raises:
            BadInput: If the name is unknown, or `m` is given for a policy other than `topm`.
        """
        self.refresh()
        if not isinstance(policy, str):
            raise BadInput(f"{arg('policy', policy)}: a name is expected, such as top1.")
        parsed = parse_policy(policy, self.names, m=m)
        if m is not None and parsed.option != "m":
            raise BadInput(f"{arg('m', m)} is for the policy topm, not {policy}.")
        return parsed

    def score(
        self,
        texts: Iterable[str],
        policy: str = "ensemble",
        *,
        prefix: str | Iterable[str] | None = None,
        routing: str = "prefix",
        m: int | None = None,
        spans: bool = False,
        options: ScoringOptions | None = None,
    ) -> list[Score]:
        """Score how probable texts are: nats, tokens, bytes, bits per byte. An empty text has 0 nats.

        By default these are causal probabilities: the experts that predict a token are chosen by the text before it,
        so that the probabilities of all texts of one length sum to 1. Experts that fill gaps (`masked`, `denoise`) give
        a pseudo-loss instead, by the weights of the whole text: every token predicted from what stands around it.

        Args:
            texts: Texts of any length; those longer than the context are scored in overlapping windows.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            prefix: A text that stands before each text, or one for each: a prompt, of which the texts are answers. Only
                the texts are scored, given the prefix, by the weights of the whole prefix, as `generate` draws them.
            routing: `prefix`: weights follow the text before each token (the prefix, if there is one); `text`: each
                text is scored by the weights of the whole of it, for use when its language is known beforehand; the
                result is then no probability of the text, since the text has chosen its experts.
            m: For `topm`: how many experts are kept.
            spans: Cut each text where its language changes; each part is scored by its own experts, with all the
                text before it as context. Cuts and experts come from the whole text, as with `routing="text"`.
            options: Context, stride and batch size.

        Raises:
            BadInput: If the policy or the routing is unknown, `texts` is no list of strings, or there is not one
                prefix for each text.
        """
        texts, _ = as_texts(texts), self.policy(policy, m)
        check_routing(routing, prefix, spans)
        if not texts:
            return []
        if not self.experts.objective.follows_text:
            return self._pseudo_scores(texts, policy, m, plain=prefix is None and not spans and options is None)
        scorer = self.scorer(policy, m=m, options=options)
        if prefix is not None:
            return scorer.answers(texts, prefixes_of(prefix, len(texts)))
        if spans:
            return scorer.parts(texts)
        return scorer.wholes(texts) if routing == "text" else scorer.causal(texts)

    def _pseudo_scores(self, texts: list[str], policy: str, m: int | None, *, plain: bool) -> list[Score]:
        if not plain:
            check_follows_text(self.experts, "a score with prefix, spans or options")
        weights_BK, parsed = self.weights(texts, policy, m=m), self.policy(policy, m)
        return pseudo_scores(self.experts, texts, weights_BK, self.vocabularies, self._pool().get, parsed)

    def generate(
        self, prompts: Iterable[str], policy: str = "top1", *, m: int | None = None, **options: Any
    ) -> list[str]:
        """Continue prompts in any languages; answers come in the order asked, without the prompt.

        Experts of the objective `denoise` also fill the gaps of a prompt (`Das <extra_id_0> ist groß.`), which is then
        answered by the whole text, its gaps filled.

        Args:
            prompts: Texts. An empty one starts from the tokenizer's start token.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.
            options: Any option of transformers' `generate` (`max_new_tokens`, `do_sample`, `num_beams`, …), and
                `batch_size`: the most prompts in one pass.

        Raises:
            BadInput: If the policy is unknown, or a prompt leaves no room in the context.
        """
        return [completion.text for completion in self.complete(prompts, policy, m=m, **options)]

    def complete(
        self,
        prompts: Iterable[str],
        policy: str = "top1",
        *,
        m: int | None = None,
        stops: Iterable[str] = (),
        **options: Any,
    ) -> list[Completion]:
        """Do as `generate`, and also return the tokens, the route and the end of each answer.

        Args:
            prompts: Texts. An empty one starts from the tokenizer's start token.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.
            stops: Texts at which an answer ends; they are not part of it.
            options: Any option of transformers' `generate`, and `batch_size`: the most prompts in one pass.
        """
        prompts, stops, _ = as_texts(prompts), as_stops(stops), self.policy(policy, m)
        check_options(options)
        if not prompts:
            return []
        routes, parsed = self.route(prompts), self.policy(policy, m)

        def encode(rows: list[int], tokenizer: Any) -> list[list[int]]:
            return self._prompting(tokenizer).ids([prompts[row] for row in rows])

        ids = self.vocabularies.by_tokenizer(self._router.weights(routes, parsed), encode, parsed)
        return self.complete_ids(ids, routes, policy, m=m, stops=stops, **options)

    def complete_ids(
        self,
        ids: Sequence[Sequence[int]],
        routes: Sequence[Route],
        policy: str = "top1",
        *,
        m: int | None = None,
        stops: Iterable[str] = (),
        **options: Any,
    ) -> list[Completion]:
        """Do as `complete` for prompts that have their routes and are tokens already, of their experts' tokenizers."""
        parsed = self.policy(policy, m)
        answer: dict[str, Any] = {"stops": stops, "end_tokens": self.end_tokens, **options}
        weights_BK = self._router.weights(routes, parsed)

        def complete(rows: list[int], tokenizer: Any) -> list[Completion]:
            own = {**answer, "for_batch": _for_rows(answer["for_batch"], rows)} if "for_batch" in answer else answer
            chosen, ways = [ids[row] for row in rows], [routes[row] for row in rows]
            return complete_ids(
                *(chosen, ways, weights_BK[rows], self.names, self.models, tokenizer),
                dynamic=parsed.dynamic,
                prompting=self._prompting(tokenizer),
                **own,
            )

        num_each = options.get("num_return_sequences") or 1
        return self.vocabularies.by_tokenizer(weights_BK, complete, parsed, each=num_each)

    def stream(
        self,
        prompt: str,
        policy: str = "top1",
        *,
        m: int | None = None,
        stops: Iterable[str] = (),
        **options: Any,
    ) -> Iterator[str]:
        """Continue one prompt and yield the text as it is generated; leaving the loop ends the generation.

        Args:
            prompt: Text.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.
            stops: Texts at which the answer ends; they are not part of it.
            options: Any option of transformers' `generate` but beams, which have no text until they end.

        Yields:
            Pieces of text; joined, they are the answer that `complete` would give.

        Raises:
            BadInput: If the policy is unknown, or an option does not fit.
        """
        taken = {"streamer", "stopping_criteria", "num_return_sequences"} & options.keys()
        if taken or options.get("num_beams", 1) > 1:
            raise BadInput(f"{', '.join(sorted(taken)) or 'num_beams'}: not while streaming. Use generate.")
        if not isinstance(prompt, str):
            raise BadInput(f"the prompt is a {type(prompt).__name__}; stream takes one string.")
        stops, _ = as_stops(stops), self.policy(policy, m)
        check_options(options)
        routes = self.route([prompt])
        tokenizer = self.tokenizer_for(routes[0], policy, m=m)
        prompting = self._prompting(tokenizer)
        ids = prompting.ids([prompt])
        prompting.check_grows(ids, "streams")

        def run(**hooks: Any) -> None:
            self.complete_ids(ids, routes, policy, m=m, **options, **hooks)

        return stream_text(run, partial(prompting.text, ids[0]), stops=stops)

    def _prompting(self, tokenizer: PreTrainedTokenizerBase) -> Prompting:
        return self.experts.objective.prompting(tokenizer)

    def as_causal_lm(self, policy: str = "ensemble", *, m: int | None = None) -> RoutedForCausalLM:
        """A transformers model whose logits are the routed mixture's log-probabilities, for `generate`, pipelines and
        evaluation harnesses. Each row of a batch is routed by its own text.

        Raises:
            BadInput: If the policy is unknown, or the experts do not all fit under `max_loaded`.
        """
        from xelm.inference.causal_lm import RoutedForCausalLM

        check_follows_text(self.experts, "as_causal_lm")
        return RoutedForCausalLM.from_routed(self, policy, m=m)

    def growing_weights(
        self,
        sequences: Sequence[Sequence[int]],
        policy: str = "ensemble",
        *,
        m: int | None = None,
        num_prompt: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> list[GrowingWeights]:
        """Weights for the token after each token, from the text up to there.

        Args:
            sequences: Token ids of texts, with the start token.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.
            num_prompt: For each text, how many of its tokens are a prompt, whose weights hold from its end on.
            names: Experts that read the same pieces, those of the sequences: weights of these alone. None: of all, and
                the sequences are of the run's tokenizer.

        Raises:
            BadInput: If the policy is unknown, or a text goes to an expert that is not among `names`.
        """
        scorer = self.scorer(str(self.policy(policy, m)))
        if names is None or not self.vocabularies.differ:
            return scorer.weights_along(sequences, num_prompt)
        own = dataclasses.replace(scorer, tokenizer=self.vocabularies.tokenizer(names[0]))
        return self.vocabularies.among(own.weights_along(sequences, num_prompt), names)

    def scorer(
        self, policy: str = "ensemble", *, m: int | None = None, options: ScoringOptions | None = None
    ) -> Scorer:
        """What scores texts under a policy.

        Raises:
            BadInput: If the policy is unknown.
        """
        check_follows_text(self.experts, "a score along the text")
        context = self.context if self.vocabularies.differ else 0
        return Scorer(self._router, self.tokenizer, self._model, self.policy(policy, m), options, context)

    def next_bytes(self, texts: Iterable[str], policy: str = "ensemble", *, m: int | None = None) -> np.ndarray:
        """Probabilities of the byte after each text: 256 bytes, then the text's end, shape (texts, 257), rows summing
        to 1. Experts that read different pieces are mixed exactly, since all of them read bytes.

        Args:
            texts: Texts, each within one context of the experts.
            policy: Which experts answer: `top1`, `topm`, `ensemble`, `bayes`, or the name of one.
            m: For `topm`: how many experts are kept.

        Raises:
            BadInput: If the policy is unknown, an expert's tokenizer has no bytes, or a text is too long.
        """
        texts, parsed = as_texts(texts), self.policy(policy, m)
        check_follows_text(self.experts, "next_bytes")
        weights_BK = self._router.weights(self.route(texts), parsed)
        mixture = ByteMixture(self.vocabularies, self._model, self.context)
        rows = [mixture.next_bytes(t, w, dynamic=parsed.dynamic) for t, w in zip(texts, weights_BK, strict=True)]
        return np.array(rows).reshape(len(texts), -1)

    def tokenizer_for(self, route: Route, policy: str = "top1", *, m: int | None = None) -> PreTrainedTokenizerBase:
        """The tokenizer with which a routed text is read under a policy.

        Raises:
            BadInput: If the policy is unknown, or mixes experts that read different pieces.
        """
        parsed = self.policy(policy, m)
        weights_BK = self._router.weights([route], parsed)
        [tokenizer] = self.vocabularies.by_tokenizer(weights_BK, lambda rows, found: [found] * len(rows), parsed)
        return tokenizer

    def _model(self, name: str) -> Any:
        return self.models.get(name)


def _for_rows(for_batch: Any, rows: Sequence[int]) -> Any:
    """The hooks of a batch, asked for by places among the given rows."""
    return lambda chosen: for_batch([rows[place] for place in chosen])


def _open(path: str, settings: dict[str, Any]) -> RoutedLM:
    return RoutedLM.from_pretrained(path, **settings)
