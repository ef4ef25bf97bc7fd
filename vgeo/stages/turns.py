"""Whose turn it is: a list of inputs that several processes may work through together.

    turns = Turns(clips, claims, batch, key=..., progress=progress)
    for turn in turns:
        with turns.work(turn, turn.one.name) as item:
            ...

Inputs come in the order of the list; those that another process works on are come back to at the end, and done here
where it dies before it has finished. What others finished is written to the report and never comes.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Generic, TypeVar

from vgeo.formats.claims import Claim, Claims
from vgeo.logs import SILENT, Progress
from vgeo.records import Outcome
from vgeo.stages.batch import Batch, Item

log = logging.getLogger(__name__)

POLL_S = 0.2
ELSEWHERE = "done by another process"

T = TypeVar("T")


@dataclass(slots=True)
class Turn(Generic[T]):
    """An input that this process has claimed."""

    one: T
    claim: Claim
    finished: bool  # before: nothing is to be done


class Turns(Generic[T]):
    """The turns of one process.

    key, stamp: see `Claims.claim`; stamp is asked for once an input. finished: whether the store has an input already;
    asked once it is claimed. progress: is advanced by what others have done.
    """

    def __init__(
        self,
        inputs: Sequence[T],
        claims: Claims,
        batch: Batch,
        *,
        key: Callable[[T], str],
        stamp: Callable[[T], str] = lambda _: "",
        finished: Callable[[T], bool] = lambda _: False,
        progress: Progress = SILENT,
    ) -> None:
        self._claims, self._batch, self._progress = claims, batch, progress
        self._key, self._stamp, self._finished = key, stamp, finished
        self._left = deque(inputs)  # not claimed yet, in order
        self._later = deque[T]()  # others work on them
        self._decided = deque[Turn[T] | Outcome]()
        self._ahead = deque[T]()  # to be begun ahead of their turn
        self._held = list[Claim]()
        self._waits = False

    def __iter__(self) -> Iterator[Turn[T]]:
        try:
            while (turn := self.take()) is not None:
                yield turn
        finally:
            self.drop()

    def take(self, wait: bool = True) -> Turn[T] | None:
        """The next turn; None where none is left or, unless this waits, others work on all that are."""
        while self._decided or self._decide(wait):
            turn = self._decided.popleft()
            if isinstance(turn, Turn):
                return turn
            self._batch.take(turn)
            self._progress.advance(1)
        return None

    def drop(self) -> None:
        """Let go of what was claimed and not worked on."""
        for claim in self._held:
            claim.drop()

    def ahead(self) -> Iterator[T | None]:
        """The inputs that are to be worked on, in order, claimed when they are asked for; None: none now, ask again."""
        while self._ahead or self._left or self._later:
            if self._ahead:
                yield self._ahead.popleft()
            elif not self._decide():
                yield None

    @contextmanager
    def work(self, turn: Turn[T], name: str) -> Iterator[Item]:
        """Work on an input, account for it, and tell the other processes."""
        try:
            with self._batch.item(name) as item:
                yield item
            turn.claim.settle(asdict(self._batch.outcomes[-1]))
        finally:  # what ends the batch ends it here: others try that input themselves
            turn.claim.drop()
            self._held.remove(turn.claim)

    def _decide(self, wait: bool = False) -> bool:
        """Decide on one more input; False where none is left or, unless this waits, others work on all that are."""
        while self._left:
            one = self._left.popleft()
            if self._claim(one):
                return True
            self._later.append(one)
        while self._later:
            for _ in range(len(self._later)):
                one = self._later.popleft()
                if self._claim(one):
                    return True
                self._later.append(one)
            if not wait:
                return False
            if not self._waits:
                log.info("waiting for what other processes work on: %d inputs", len(self._later))
                self._waits = True
            time.sleep(POLL_S)
        return False

    def _claim(self, one: T) -> bool:
        claim = self._claims.claim(self._key(one), self._stamp(one))
        if claim is None:
            return False
        if claim.settled is not None:
            self._decided.append(_elsewhere(claim.settled))
            return True
        self._held.append(claim)
        turn = Turn(one, claim, self._finished(one))
        self._decided.append(turn)
        if not turn.finished:
            self._ahead.append(one)
        return True


def say_skipped(outcomes: Sequence[Outcome], what: str, hint: str = "") -> None:
    """Log how many inputs were not worked on here, and why. hint: what to do about those that were finished before."""
    skipped = [outcome.message for outcome in outcomes if outcome.status == "skipped"]
    elsewhere = sum(message.startswith(ELSEWHERE) for message in skipped)
    if len(skipped) > elsewhere:
        log.info("%d of %d %s were finished before%s", len(skipped) - elsewhere, len(outcomes), what, hint)
    if elsewhere:
        log.info("%d of %d %s were done by other processes", elsewhere, len(outcomes), what)


def _elsewhere(said: dict[str, Any]) -> Outcome:
    """What this process reports of an input that another one worked on."""
    outcome = Outcome(**{field.name: said[field.name] for field in fields(Outcome)})
    outcome = replace(outcome, outputs=tuple(outcome.outputs))
    if outcome.status != "done":
        return outcome
    return replace(outcome, status="skipped", message="; ".join(filter(None, [ELSEWHERE, outcome.message])))
