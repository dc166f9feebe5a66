"""Who gets how many cores: chat, embeddings and indexing beside each other."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.generation import Priority
from tests.support.clock import FakeClock
from tests.support.models import PATIENCE


class Worker:
    """Somebody who wants a core, has it, and gives it back."""

    def __init__(self, budget: CoreBudget, priority: Priority = Priority.INTERACTIVE, owner: object = None) -> None:
        self._has, self._done = threading.Event(), threading.Event()
        self._budget = budget
        self._pool = ThreadPoolExecutor(1)
        before = len(budget._waiting) + budget._computing
        self._work: Future[None] = self._pool.submit(self._run, priority, owner)
        with budget._changed:
            assert budget._changed.wait_for(lambda: len(budget._waiting) + budget._computing > before, PATIENCE)

    def _run(self, priority: Priority, owner: object) -> None:
        with self._budget.core(priority, owner):
            self._has.set()
            assert self._done.wait(PATIENCE)

    def comes(self) -> Worker:
        assert self._has.wait(PATIENCE)
        return self

    def goes(self) -> None:
        self._done.set()
        self._work.result(PATIENCE)
        self._pool.shutdown()


def waiting(budget: CoreBudget) -> int:
    with budget._changed:
        return len(budget._waiting)


def test_without_chat_there_are_as_many_at_work_as_cores(clock: FakeClock) -> None:
    budget = CoreBudget(2, clock)
    one, two = Worker(budget).comes(), Worker(budget).comes()
    three = Worker(budget)
    assert waiting(budget) == 1
    one.goes()
    three.comes().goes()
    two.goes()


def test_chat_alone_has_every_core_and_two_models_share_them(clock: FakeClock) -> None:
    budget = CoreBudget(8, clock)
    first, second = budget.chat(), budget.chat()
    assert [first.next_step(8), first.next_step(3)] == [8, 3]
    assert second.next_step(8) == 4
    first.idle()
    assert second.next_step(8) == 8


@pytest.mark.parametrize(("cores", "beside", "left"), [(2, 1, 1), (4, 1, 3), (8, 2, 6)])
def test_an_embedding_takes_its_cores_from_chat_between_two_steps(
    clock: FakeClock, cores: int, beside: int, left: int
) -> None:
    budget = CoreBudget(cores, clock)
    chat = budget.chat()
    assert chat.next_step(cores) == cores
    workers = [Worker(budget) for _ in range(beside + 1)]
    assert waiting(budget) == beside + 1
    assert chat.next_step(cores) == left
    assert waiting(budget) == 1
    chat.idle()
    for worker in workers:
        worker.comes()
    for worker in workers:
        worker.goes()


def test_a_core_that_chat_leaves_free_is_taken_at_once(clock: FakeClock) -> None:
    budget = CoreBudget(2, clock)
    chat = budget.chat()
    chat.next_step(2)
    worker = Worker(budget)
    assert waiting(budget) == 1
    chat.uses(1)
    worker.comes().goes()


def test_the_more_important_one_goes_first_and_what_is_hurried_is_important(clock: FakeClock) -> None:
    budget, owner = CoreBudget(1, clock), object()
    busy = Worker(budget).comes()
    indexing, hurried = Worker(budget, Priority.INDEXING), Worker(budget, Priority.INDEXING, owner)
    budget.hurry(owner)
    busy.goes()
    hurried.comes()
    assert waiting(budget) == 1
    hurried.goes()
    indexing.comes().goes()


def test_indexing_beside_chat_rests_three_times_as_long_as_it_works(clock: FakeClock) -> None:
    budget = CoreBudget(2, clock)
    chat = budget.chat()
    chat.next_step(1)
    first = Worker(budget, Priority.INDEXING).comes()
    clock.advance(2)
    first.goes()
    second = Worker(budget, Priority.INDEXING)
    clock.advance(5.9)
    assert chat.next_step(2) == 2
    assert waiting(budget) == 1
    chat.uses(1)
    Worker(budget).comes().goes()  # an embedding does not rest
    assert waiting(budget) == 1
    clock.advance(0.2)
    chat.next_step(1)
    chat.idle()
    second.comes().goes()


def test_a_step_that_never_ends_is_not_waited_for(clock: FakeClock) -> None:
    budget = CoreBudget(2, clock)
    budget.chat().next_step(2)
    worker = Worker(budget)
    assert waiting(budget) == 1
    clock.advance(1.1)
    worker.comes().goes()


def test_what_takes_no_time_waits_for_no_core_but_counts(clock: FakeClock) -> None:
    budget = CoreBudget(2, clock)
    one, two = Worker(budget).comes(), Worker(budget).comes()
    with budget.core_at_once():
        one.goes()
        three = Worker(budget)
        assert waiting(budget) == 1
    three.comes().goes()
    two.goes()


def test_indexing_leaves_a_core_free_for_a_second_after_a_search(clock: FakeClock) -> None:
    budget = CoreBudget(2, clock)
    with budget.core_at_once():
        pass
    one = Worker(budget, Priority.INDEXING).comes()
    two = Worker(budget, Priority.INDEXING)
    waited_for = Worker(budget).comes()
    assert waiting(budget) == 1
    waited_for.goes()
    assert waiting(budget) == 1
    clock.advance(1.1)
    two.comes().goes()
    one.goes()
