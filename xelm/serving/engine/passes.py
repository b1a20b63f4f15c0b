"""Passes over a run: new rows are read once, by themselves, and go on together with those that were read before."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xelm.inference.routed import RoutedLM
from xelm.serving.engine.jobs import Answer, Job, drop_oldest, num_kept_bytes
from xelm.serving.engine.sampling import TokenChooser
from xelm.serving.engine.shared import SharedBeginnings
from xelm.serving.engine.turns import SHORTEST_TURN_S, Row, Turn

if TYPE_CHECKING:
    from router.mixture.kept import KeptBatch, KeptRow

# Rows are read together while the shortest has at least such a part of the longest one's tokens, or all have few.
_LEAST_PART, _FEW_TOKENS = 0.5, 64


class Passes:
    """Computes the tokens of rows, pass by pass; one thread at a time.

    Args:
        lm: The run.
        max_batch: Most rows of a pass.
        max_kept_bytes: Most memory of the caches of rows that are in no pass and of answers that are over; what is
            beyond it is read again.
        waiting: The jobs with unfinished answers, including those of the pass.
        wanted: Whether a short task beside the jobs needs the models.
    """

    def __init__(
        self,
        lm: RoutedLM,
        max_batch: int,
        max_kept_bytes: int,
        waiting: Callable[[], Sequence[Job]],
        wanted: Callable[[], bool],
    ):
        self._lm, self._max_batch, self._max_kept_bytes = lm, max_batch, max_kept_bytes
        self._waiting, self._wanted = waiting, wanted
        self.owed_s = 0.0
        """How long rows that had begun may still go on before new ones are read, since the last ones delayed them."""
        self.num_read: Counter[str] = Counter()
        """Tokens that models have read, for the `first` time or `again`, and those `shared` with earlier prompts, which
        were not read; each new token of an answer is not counted."""
        self.shared = SharedBeginnings()

    def run(self, rows: Sequence[Row]) -> None:
        """Let rows that the same experts answer go on until one of them is finished, or it is others' turn."""
        for row in rows:
            row.announce()
        started_s, first = time.monotonic(), rows[0].answer
        if first.route and not self._lm.keeps_cache(first.route, rows[0].job.policy):
            most = max(row.answer.num_left for row in rows)
            self._continue(rows, most, lambda chosen: Turn(chosen, self.owed_s, keeps=False, reads=True), {})
            self.owed_s = 0.0
            return
        again_s = time.monotonic() - started_s  # models that were loaded now may have to be loaded once more
        delays = any(answer.tokens for answer in self._unfinished())
        kept = {row: found for row in rows if (found := row.answer.take_kept(self._lm.models))}
        unread = [row for row in rows if row not in kept]
        shared = {row: found for row in unread if (found := self._beginning(row))}
        if kept or len(unread) > 1:
            for part in _by_length(list(shared)) + _by_length([row for row in unread if row not in shared]):
                again_s += self._read(part, kept, shared, delays=delays)
        rows = [row for row in rows if not row.is_done]
        if rows:
            self._go_on(rows, kept, shared, again_s, delays=delays)
        drop_oldest(self._unfinished(), self._max_kept_bytes)
        self.shared.drop(self._max_kept_bytes - num_kept_bytes(self._unfinished()))

    def _go_on(
        self,
        rows: Sequence[Row],
        kept: dict[Row, KeptRow],
        shared: Mapping[Row, KeptRow],
        again_s: float,
        *,
        delays: bool,
    ) -> None:
        """Let rows go on until one of them is finished or their turn is over, and keep their caches."""
        from router.mixture.kept import joined

        is_read = all(row in kept for row in rows)
        batch = joined([kept[row] for row in rows]) if is_read else None
        kept.clear()  # so that a batch that was joined is not in memory twice
        repeats = batch is None and any(row.answer.tokens for row in rows)
        turn = Turn(rows, self.owed_s, again_s, reads=batch is None, repeats=repeats)
        batch = self._continue(rows, min(row.answer.num_left for row in rows), lambda _: turn, shared, batch)
        self._owe(turn.read_s if delays and not repeats else 0.0, turn.spent_s)
        self._keep(rows, batch)

    def _read(
        self, rows: Sequence[Row], kept: dict[Row, KeptRow], shared: Mapping[Row, KeptRow], *, delays: bool
    ) -> float:
        """Read rows alone, which gives their next tokens; return how long it took if they were read before."""
        from router.mixture.kept import KeptRow

        started_s, repeats = time.monotonic(), any(row.answer.tokens for row in rows)
        batch = self._continue(rows, 1, None, shared)
        spent_s = time.monotonic() - started_s
        if batch is not None:
            kept |= {row: KeptRow(batch, index) for index, row in enumerate(rows)}
        self._owe(spent_s if delays and not repeats else 0.0, 0.0)
        return spent_s if repeats else 0.0

    def _owe(self, delay_s: float, spent_s: float) -> None:
        """Rows that had begun were delayed by the reading of new ones, and then got some time."""
        self.owed_s = max(0.0, min(SHORTEST_TURN_S, self.owed_s + delay_s) - spent_s)

    def _continue(
        self,
        rows: Sequence[Row],
        num_new: int,
        turn_of: Callable[[Sequence[Row]], Turn] | None,
        shared: Mapping[Row, KeptRow],
        kept: KeptBatch | None = None,
    ) -> KeptBatch | None:
        """Add up to so many tokens to each row, whose cache is kept or begins with what it shares with earlier ones."""
        answers = [row.answer for row in rows]
        kept = kept or self._begun(rows, shared)
        return self._lm.continue_ids(
            [answer.ids for answer in answers],
            [answer.route for answer in answers if answer.route],
            rows[0].job.policy,
            kept=kept,
            max_new_tokens=num_new,
            batch_size=self._max_batch,
            eos_token_id=sorted(self._lm.end_tokens) or None,
            for_batch=lambda chosen: self._hooks([rows[index] for index in chosen], turn_of),
            # Tokens are chosen row by row; without this, transformers warns about a checkpoint's sampling defaults.
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
        )

    def _begun(self, rows: Sequence[Row], shared: Mapping[Row, KeptRow]) -> KeptBatch | None:
        """The caches of what rows that are to be read share with earlier ones, and count what is left to read."""
        from router.mixture.beginnings import begun

        num_tokens = [len(row.answer.ids) for row in rows]
        batch = begun([shared[row] for row in rows], num_tokens) if all(row in shared for row in rows) else None
        num_shared = batch.num_tokens if batch else [0] * len(rows)
        for row, number, begins in zip(rows, num_tokens, num_shared, strict=True):
            self.num_read["again" if row.answer.tokens else "first"] += number - begins
            if begins:
                self.num_read["shared"] += begins
        return batch

    def _beginning(self, row: Row) -> KeptRow | None:
        reader = row.answer.reader
        return self.shared.find(reader, row.answer.ids, self._lm.models) if reader else None

    def _keep(self, rows: Sequence[Row], batch: KeptBatch | None) -> None:
        """Keep the rows' caches until they go on, and for prompts that begin like them."""
        from router.mixture.kept import KeptRow

        for index, answer in enumerate(row.answer for row in rows):
            if batch is None:
                return
            kept = KeptRow(batch, index)
            if answer.reader and (rows[index].is_done or not answer.is_shared):
                answer.is_shared = True
                self.shared.put(answer.reader, answer.ids[: kept.num_tokens], kept)
            if not rows[index].is_done:
                answer.kept = kept

    def _hooks(self, rows: list[Row], turn_of: Callable[[Sequence[Row]], Turn] | None) -> dict[str, Any]:
        """The hooks that choose a batch's tokens and pass each new token to its answer."""
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        turn = turn_of(rows) if turn_of else None

        def step(input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
            done = [row.step(token) for row, token in zip(rows, input_ids[:, -1].tolist(), strict=True)]
            if turn and turn.is_over(self._waiting(), wanted=self._wanted()):
                done = [True] * len(rows)
            return torch.tensor(done, device=input_ids.device)

        chooser = TokenChooser([row.answer for row in rows])
        return {
            "logits_processor": LogitsProcessorList([chooser]),
            "stopping_criteria": StoppingCriteriaList([step]),
        }

    def _unfinished(self) -> Iterator[Answer]:
        """All answers that are unfinished."""
        return (job.answers[index] for job in self._waiting() for index in job.unfinished)


def _by_length(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of similar length together, so that short ones are not filled up to long ones."""
    found: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: len(row.answer.ids)):
        num_tokens = len(row.answer.ids)
        if found and (num_tokens <= _FEW_TOKENS or len(found[-1][0].answer.ids) >= _LEAST_PART * num_tokens):
            found[-1].append(row)
        else:
            found.append([row])
    return found
