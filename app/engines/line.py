"""Answers that wait to enter a batch, and whose turn it is. Pure: knows no mlx and no clock.

They enter in the order they came, one or several with a step. There are three
exceptions, each bounded. Answers that nobody waits for let others pass. So do a
request's further answers, which also leave a quarter of the slots to others' first
ones. An answer that finds no room in memory is overtaken by smaller ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable

from app.engines.answer import Answer
from app.engines.kv_admission import KvAdmission
from app.engines.protocols import MOST_PASSED

__all__ = ["Line"]


class Line:
    """The line of one engine.

    Args:
        slots: Answers that grow at once.
        kv: Says for whom there is room.
    """

    def __init__(self, slots: int, kv: KvAdmission) -> None:
        self._slots = slots
        self._kv = kv
        self._waiting: deque[Answer] = deque()
        self._overtaken = 0  # answers that entered since the last one that lets others pass did, while one waited

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, answer: Answer) -> None:
        """Put *answer* at the end."""
        self._waiting.append(answer)

    def rejoin(self, answers: Collection[Answer]) -> None:
        """Put *answers*, which were in already, before all others, in their order."""
        self._waiting.extendleft(reversed([*answers]))

    def leave(self, work_id: str) -> None:
        """Forget *work_id*."""
        self._waiting = deque(answer for answer in self._waiting if answer.work.id != work_id)
        self._kv.forget(work_id)

    def clear(self) -> None:
        """Forget everybody."""
        self._waiting.clear()

    def take_finished(self) -> list[Answer]:
        """Take out those that an earlier attempt had completed."""
        finished = [answer for answer in self._waiting if answer.finish is not None]
        if finished:
            self._waiting = deque(answer for answer in self._waiting if answer.finish is None)
        return finished

    def next(self, running: Collection[Answer], chosen: Collection[Answer] = ()) -> Answer | None:
        """Return who may enter beside *running*, with *chosen*. Changes nothing, so that asked twice it answers the same."""
        company = [*running, *chosen]
        if len(company) >= self._slots:
            return None
        head = self._head(company)
        if head is None or _kept_apart(head, company):
            return None
        if self._kv.fits(running, chosen, head):
            return head
        if not self._kv.may_overtake():
            return None
        ready = (answer for answer in self._waiting if answer is not head and _may_overtake(answer, company))
        return next((answer for answer in ready if self._kv.fits(running, chosen, answer)), None)

    def passes(self, running: Collection[Answer], reading: Collection[Answer]) -> bool:
        """Return whether the next to enter is one that somebody waits for, and all of *reading* may rest meanwhile, half read."""
        first = self.next(running, reading) if all(answer.may_rest for answer in reading) else None
        return first is not None and not _lets_pass(first)

    def enter(
        self, running: Collection[Answer], chosen: Collection[Answer] = (), joins: Callable[[Answer], bool] = lambda _: True
    ) -> Answer | None:
        """Take out who may enter now, with room reserved for it; note who found no room.

        Args:
            running: Those who are in.
            chosen: Those who enter with it: earlier answers of this method, since the last step.
            joins: Says whether it may enter with *chosen*. If not, it waits, and so do those behind it.
        """
        answer = self.next(running, chosen)
        self._claim(answer, running, chosen)
        if answer is None or not joins(answer) or not self._kv.admit(running, chosen, answer):
            return None
        self._waiting.remove(answer)
        others_wait = any(map(_lets_pass, self._waiting))
        self._overtaken = self._overtaken + 1 if others_wait and not _lets_pass(answer) else 0
        return answer

    def _claim(self, entering: Answer | None, running: Collection[Answer], chosen: Collection[Answer]) -> None:
        """Note whether the head waits for room. While no slot is free it waits for that, and what it claimed stands."""
        company = [*running, *chosen]
        if len(company) >= self._slots:
            return
        head = self._head(company)
        if head is None or head is not entering:
            waits = head is not None and not _kept_apart(head, company) and not self._kv.fits(running, chosen, head)
            self._kv.wait_for_room(head if waits else None)

    def _head(self, company: Collection[Answer]) -> Answer | None:
        """Return whose turn it is: one that lets nobody pass, unless one that does has been overtaken often enough."""
        unfinished = [answer for answer in self._waiting if answer.finish is None]
        first = next((answer for answer in unfinished if not _lets_pass(answer)), None)
        if first is not None and self._overtaken < MOST_PASSED:
            return first
        crowded = first is None and len(company) >= self._slots - self._slots // 4
        others = (answer for answer in unfinished if _lets_pass(answer) and not (crowded and answer.work.extra))
        return next(others, first)


def _lets_pass(answer: Answer) -> bool:
    return answer.work.extra or answer.work.patient


def _may_overtake(answer: Answer, company: Collection[Answer]) -> bool:
    return answer.finish is None and not answer.work.extra and not _kept_apart(answer, company)


def _kept_apart(answer: Answer, company: Iterable[Answer]) -> bool:
    """Return whether *answer* must wait because it, or one of *company*, may share a slice with nobody."""
    others = [*company]
    return bool(others) and (answer.alone or any(other.alone for other in others))
