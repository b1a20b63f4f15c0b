"""RoutedLM: a run that answers. Text in any of its languages goes to the right experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xelm.inference.routed_lm.able import check_follows_text
from xelm.inference.routed_lm.answers import AnswersPrompts
from xelm.inference.routed_lm.scores import ScoresTexts

if TYPE_CHECKING:
    from xelm.inference.causal_lm import RoutedForCausalLM


class RoutedLM(ScoresTexts, AnswersPrompts):
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

    def as_causal_lm(self, policy: str = "ensemble", *, m: int | None = None) -> RoutedForCausalLM:
        """A transformers model whose logits are the routed mixture's log-probabilities, for `generate`, pipelines and
        evaluation harnesses. Each row of a batch is routed by its own text.

        Raises:
            BadInput: If the policy is unknown, or the experts do not all fit under `max_loaded`.
        """
        from xelm.inference.causal_lm import RoutedForCausalLM

        check_follows_text(self.experts, "as_causal_lm")
        return RoutedForCausalLM.from_routed(self, policy, m=m)
