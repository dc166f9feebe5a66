"""Whose turn it is, and who makes room for whom: decisions about numbers, then the engine itself."""

from __future__ import annotations

import random

import pytest

from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.inference.fairness import Ledger, Room, victims, yields_cells
from secureai_appliance.inference.generation import Generation, GenerationRequest, Priority, Text
from secureai_appliance.inference.sequence import Sequence
from secureai_appliance.inference.step import Work
from secureai_appliance.inference.waiting import WaitingList
from tests.support.models import GREEDY, PATIENCE, StepGate, answer, prompt
from tests.support.running_engine import engine_of, idle, settled

SLOTS, KV = 4, 1000


def one(
    key: str, arrival: int, *, reserved: int = 0, priority: Priority = Priority.INTERACTIVE, weight: float = 1.0
) -> Sequence:
    request = GenerationRequest([1] * 10, fairness_key=key, priority=priority, weight=weight)
    made = Sequence(Generation(lambda: None), request, 100, arrival, 0.0, [1] * 10)
    made.reserved = reserved
    return made


def pausing(running: list[Sequence], wanted: Sequence, need: int = 100) -> list[int] | None:
    """Arrivals of those who pause."""
    free = Room(SLOTS, KV, SLOTS - len(running), KV - sum(s.reserved for s in running))
    chosen = victims(running, [wanted], wanted, need, free)
    return None if chosen is None else [s.arrival for s in chosen]


def test_one_who_holds_all_slots_gives_up_his_newest_for_another() -> None:
    running = [one("a", arrival, reserved=100) for arrival in range(4)]
    assert pausing(running, one("b", 9)) == [3]


def test_nobody_gives_up_slots_below_the_part_that_is_his() -> None:
    running = [one("a", 0, reserved=100), one("a", 1, reserved=100), one("b", 2), one("b", 3)]
    assert pausing(running, one("b", 9)) is None
    assert pausing(running, one("c", 9)) is None  # with three users the part is two


def test_nobody_makes_room_for_himself() -> None:
    assert pausing([one("a", arrival) for arrival in range(4)], one("a", 9)) is None


def test_one_who_holds_the_kv_in_several_requests_gives_up_as_many_as_it_takes() -> None:
    running = [one("a", arrival, reserved=330) for arrival in range(3)]
    assert pausing(running, one("b", 9), need=400) == [2, 1]


def test_an_only_request_is_not_paused_for_its_size() -> None:
    assert pausing([one("a", 0, reserved=900)], one("b", 9), need=400) is None


def test_nothing_pauses_when_that_would_not_be_enough() -> None:
    running = [one("a", 0, reserved=500), one("a", 1, reserved=100), one("b", 2, reserved=400)]
    assert pausing(running, one("c", 9), need=200) is None


def test_lower_priority_always_makes_room_and_the_lowest_first() -> None:
    running = [
        one("a", 0),
        one("b", 1, priority=Priority.BATCH),
        one("c", 2, priority=Priority.INDEXING),
        one("a", 3, priority=Priority.BATCH),
    ]
    assert pausing(running, one("a", 9)) == [2]
    assert pausing(running, one("z", 9, priority=Priority.INDEXING)) is None


def test_when_answers_grow_one_who_holds_more_than_his_part_yields() -> None:
    running = [one("a", 0, reserved=300), one("a", 1, reserved=300), one("b", 2, reserved=400)]
    assert yields_cells(running, KV).arrival == 1
    assert yields_cells([one("a", 0, reserved=500), one("b", 1, reserved=500)], KV).arrival == 1


def test_who_was_served_least_comes_next_and_weights_count() -> None:
    ledger = Ledger()
    waiting = WaitingList(10, ledger)
    for arrival, key in enumerate("aabbc"):
        waiting.add(one(key, arrival))
    ledger.charge("a", 100, 1.0)
    ledger.charge("b", 100, 4.0)
    assert [s.arrival for s in waiting.heads()] == [4, 2, 0]
    # b's turn comes again after a typical answer's tokens
    assert [s.arrival for s in waiting.in_order()] == [4, 2, 0, 3, 1]


def test_priority_comes_before_what_was_served() -> None:
    ledger = Ledger()
    waiting = WaitingList(10, ledger)
    waiting.add(one("a", 0, priority=Priority.INDEXING))
    waiting.add(one("a", 1, priority=Priority.BATCH))
    waiting.add(one("b", 2))
    ledger.charge("b", 1000, 1.0)
    assert [s.arrival for s in waiting.in_order()] == [2, 1, 0]


def test_absence_is_not_saved_up_and_coming_back_does_not_pay() -> None:
    ledger = Ledger()
    ledger.charge("a", 5000, 1.0)
    ledger.arrive("b", {"a"})
    assert ledger.served("b") == 5000
    ledger.charge("b", 70, 1.0)
    ledger.arrive("b", {"a"})
    assert ledger.served("b") == 5070


def test_the_waiting_list_is_bounded_but_keeps_places_for_users_with_few() -> None:
    waiting = WaitingList(8, Ledger())
    for arrival in range(8):
        waiting.add(one("a", arrival))
    assert waiting.full("a", free_slots=0)
    assert not waiting.full("a", free_slots=1)
    assert not waiting.full("b", free_slots=0)
    for arrival in range(8, 16):
        waiting.add(one(f"user {arrival}", arrival))
    assert waiting.full("b", free_slots=0)


def test_those_who_lost_their_place_do_not_count_against_the_bound() -> None:
    waiting = WaitingList(1, Ledger())
    paused = one("a", 0)
    paused.started = True
    waiting.add(paused)
    assert not waiting.full("a", free_slots=0)


@pytest.mark.parametrize("seed", range(20))
def test_making_room_comes_to_an_end_whatever_the_requests_are(seed: int) -> None:
    chance = random.Random(seed)
    running: list[Sequence] = []
    waiting = [
        one(chance.choice("abc"), arrival, reserved=chance.randint(10, KV), priority=chance.choice(list(Priority)))
        for arrival in range(30)
    ]
    for _ in range(200):
        for wanted in waiting:
            room = Room(SLOTS, KV, SLOTS - len(running), KV - sum(s.reserved for s in running))
            chosen = victims(running, waiting, wanted, wanted.reserved, room)
            if chosen is not None:
                running = [s for s in running if s not in chosen] + [wanted]
                waiting = [s for s in waiting if s is not wanted] + chosen
                break
        else:
            assert len(running) <= SLOTS
            assert sum(s.reserved for s in running) <= KV
            return
    pytest.fail("it goes on for ever")


def send(engine: Engine, key: str, text: str, max_tokens: int = 24) -> Generation:
    return engine.submit(GenerationRequest(prompt(engine, text), max_tokens, GREEDY, fairness_key=key))


QUESTIONS = [f"Count from {number} to 100." for number in range(1, 35)]


def test_another_users_first_token_comes_soon_and_the_paused_texts_are_unchanged() -> None:
    with engine_of(EngineOptions(context_length=256, kv_tokens=256, slots=4)) as engine:
        alone = [answer(send(engine, "a", question))[0] for question in QUESTIONS[:4]]
        begun = engine.queue().steps
        gate = StepGate(engine)
        greedy = [send(engine, "a", question) for question in QUESTIONS[:4]]
        queued = [send(engine, "a", question, max_tokens=4) for question in QUESTIONS[4:]]
        gate.allow(8)
        settled(engine, lambda state: state.running == 4 and state.steps == begun + 8)
        before = engine.queue().steps

        other = send(engine, "b", "Say hello.")
        while not isinstance(other.next(0), Text):
            gate.allow(1)
            done = engine.queue().steps
            settled(engine, lambda state, done=done: state.steps > done)  # type: ignore[misc]
            assert done < before + 8
        gate.open()

        assert [answer(generation)[0] for generation in greedy] == alone
        assert all(answer(generation)[1].error is None for generation in [*queued, other])
        settled(engine, idle)


def test_beside_another_users_first_token_no_more_prompts_are_read() -> None:
    with engine_of(EngineOptions(context_length=512, kv_tokens=2048, slots=4)) as engine:
        gate = StepGate(engine)
        running = [send(engine, "a", question, 60) for question in QUESTIONS[:2]]
        begun = engine.queue().steps
        gate.allow(6)
        settled(engine, lambda state: state.steps == begun + 6)
        seen = steps_of(engine)
        more = send(engine, "a", "Tell me about this. " * 20)
        other = send(engine, "b", "Say hello.")
        gate.open()
        assert all(answer(generation)[1].error is None for generation in [*running, more, other])
        settled(engine, idle)
    mixed = [keys for keys in seen if "b" in keys]
    assert mixed
    assert all(keys == ["b"] for keys in mixed)


def steps_of(engine: Engine) -> list[list[str]]:
    """Of each step from now on: whose prompts it reads."""
    runner, seen = engine._runner, []
    assert runner is not None
    planned = runner._plan

    def plan(prompts: list[Sequence], depth: int, near: int) -> list[Work]:
        work = planned(prompts, depth, near)
        seen.append([item.sequence.key for item in work if not item.sequence.decoding])
        return work

    runner._plan = plan  # type: ignore[method-assign]
    return seen


def test_waiting_answers_tell_their_place_in_fair_order() -> None:
    with engine_of(EngineOptions(context_length=256, slots=1)) as engine:
        StepGate(engine)
        send(engine, "a", "Count.")
        settled(engine, lambda state: state.running == 1)
        mine = [send(engine, "a", "Count.") for _ in range(3)]
        others = send(engine, "b", "Count.")
        places = [generation.waiting.position for generation in [*mine, others] if generation.waiting is not None]
        assert places[3] <= 2
        assert sorted(places) == [1, 2, 3, 4]
    assert answer(others)[1].reason == "cancelled"


def test_interactive_work_starts_while_indexing_holds_every_slot() -> None:
    with engine_of(EngineOptions(context_length=256, slots=2)) as engine:
        gate = StepGate(engine)
        indexing = [
            engine.submit(
                GenerationRequest(prompt(engine, "Count."), 40, GREEDY, fairness_key="a", priority=Priority.INDEXING)
            )
            for _ in range(4)
        ]
        gate.allow(3)
        settled(engine, lambda state: state.running == 2 and state.steps >= 3)
        chat = send(engine, "a", "Say hello.", max_tokens=4)
        gate.open()
        assert answer(chat)[1].error is None
        assert any(generation.next(PATIENCE) is not None for generation in indexing)
        for generation in indexing:
            assert answer(generation)[1].usage.completion_tokens == 40
