"""Answers to prompts by the experts of an open run: whole, with their tokens, or as they are generated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from router.continuing import continue_ids, keeps_cache
from router.generation_options import check_options
from router.mixture.experts import MixedExperts
from router.routes.weigh import Route
from router.texts import as_texts
from xelm.inference.completions import Completion, complete_ids, padding
from xelm.inference.routed_lm.routes import RoutesTexts
from xelm.inference.stops import as_stops
from xelm.inference.stream import stream_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from router.mixture.kept import KeptBatch
    from xelm.objectives.prompting import Prompting


class AnswersPrompts(RoutesTexts):
    """An open run that continues prompts by the experts that they are routed to."""

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
        experts = MixedExperts(self.names, self.models, parsed.dynamic)

        def complete(rows: list[int], tokenizer: Any) -> list[Completion]:
            own = {**answer, "for_batch": _for_rows(answer["for_batch"], rows)} if "for_batch" in answer else answer
            chosen, ways = [ids[row] for row in rows], [routes[row] for row in rows]
            return complete_ids(
                chosen, ways, weights_BK[rows], experts, tokenizer, prompting=self._prompting(tokenizer), **own
            )

        num_each = options.get("num_return_sequences") or 1
        return self.vocabularies.by_tokenizer(weights_BK, complete, parsed, each=num_each)

    def keeps_cache(self, route: Route, policy: str = "top1", *, m: int | None = None) -> bool:
        """Whether the answer to a routed prompt can be interrupted without its tokens being read again; loads the
        experts that give it."""
        parsed = self.policy(policy, m)
        experts = MixedExperts(self.names, self.models, parsed.dynamic)
        return keeps_cache(self._router.weights([route], parsed)[0], experts)

    def continue_ids(
        self,
        ids: Sequence[Sequence[int]],
        routes: Sequence[Route],
        policy: str = "top1",
        *,
        m: int | None = None,
        kept: KeptBatch | None = None,
        **options: Any,
    ) -> KeptBatch | None:
        """Let answers that the same experts give go on from where they are (`router.continuing.continue_ids`).

        Args:
            ids: Tokens of prompts and answers so far, of their experts' tokenizer.
            routes: The route of each prompt.
            policy: Which experts answer.
            m: For `topm`: how many experts are kept.
            kept: The cache of all tokens but the last of each; None: all are read.
            options: `for_batch`, and options of transformers' `generate`.

        Returns:
            The cache for going on later; None if there is none.
        """
        parsed = self.policy(policy, m)
        experts = MixedExperts(self.names, self.models, parsed.dynamic)
        weights_BK, pad = self._router.weights(routes, parsed), padding(self.tokenizer_for(routes[0], policy, m=m))
        return continue_ids(ids, weights_BK, experts, kept=kept, pad_token_id=pad, **options)

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


def _for_rows(for_batch: Any, rows: Sequence[int]) -> Any:
    """The hooks of a batch, asked for by places among the given rows."""
    return lambda chosen: for_batch([rows[place] for place in chosen])
