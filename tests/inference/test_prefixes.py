"""Which cells are kept, found, cut and shared; then the engine itself."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.inference.generation import Generation, GenerationRequest
from secureai_appliance.inference.prefixes import SHORTEST, Kept, Prefixes, RetentionBudget, common_prefix
from secureai_appliance.inference.sampling import Sampling
from secureai_appliance.inference.sequence import Sequence
from tests.support.models import GREEDY, StepGate, answer
from tests.support.running_engine import engine_of, idle, settled

SHARED = list(range(1000, 1200))
OPTIONS = EngineOptions(context_length=512, kv_tokens=2048, slots=4)


class Cells:
    """What a context would hold: the count of cells of each sequence."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}

    def copy(self, source: int, target: int, length: int) -> None:
        assert self.held[source] >= length
        assert target not in self.held
        self.held[target] = length

    def cut(self, sequence: int, length: int) -> None:
        assert self.held[sequence] >= length
        self.held[sequence] = length

    def remove(self, sequence: int) -> None:
        self.held.pop(sequence, None)

    def clear(self) -> None:
        self.held.clear()


def started(cells: Cells, prefixes: Prefixes, tokens: list[int], key: str = "a", arrival: int = 0) -> Sequence:
    """One that has computed all but its last token."""
    request = GenerationRequest(tokens, fairness_key=key)
    made = Sequence(Generation(lambda: None), request, 100, arrival, 0.0, list(tokens))
    made.slot = prefixes.take_number()
    made.computed = len(tokens) - 1
    cells.held[made.slot] = made.computed
    return made


def test_the_common_beginning_is_counted() -> None:
    chance = random.Random(1)
    for _ in range(300):
        one = [chance.randint(0, 1) for _ in range(chance.randint(0, 12))]
        other = one[: chance.randint(0, len(one))] + [chance.randint(0, 1) for _ in range(chance.randint(0, 5))]
        most = chance.randint(0, 15)
        plain = 0
        while plain < min(most, len(one), len(other)) and one[plain] == other[plain]:
            plain += 1
        assert common_prefix(one, other, most) == plain


def test_what_has_ended_is_found_by_its_own_key_alone() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)
    prefixes.leave(started(cells, prefixes, SHARED), keep=True)

    for key, found in (("a", 150), ("b", None)):
        later = started(cells, prefixes, [*SHARED[:150], 1, 2], key)
        match = prefixes.find(later, [])
        assert (match.length if match else None) == found


@pytest.mark.parametrize("runs", [False, True])
def test_a_common_beginning_is_found_by_all_and_not_a_token_more(runs: bool) -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)

    def common(tokens: list[int], key: str, length: int, common_key: str = "assistant") -> Sequence:
        made = started(cells, prefixes, tokens, key)
        made.request = replace(made.request, common_key=common_key, common=length)
        return made

    first = common(SHARED, "a", 60)
    if not runs:
        prefixes.leave(first, keep=True)

    def found(sequence: Sequence) -> int | None:
        match = prefixes.find(sequence, [first] if runs else [])
        prefixes.leave(sequence, keep=False)
        return None if match is None else match.length

    assert found(common(SHARED, "b", 60)) == 60
    assert found(common(SHARED, "b", 70)) == 60
    assert found(common(SHARED, "b", 50)) == 50
    assert found(common([*SHARED[:40], 1, 2, 3], "b", 40)) == 40
    assert found(common(SHARED, "b", 60, "another")) is None
    assert found(common(SHARED, "b", 0)) is None
    assert found(common(SHARED, "a", 60)) == len(SHARED) - 1


def test_those_without_a_key_share_with_nobody() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)
    one = started(cells, prefixes, SHARED, "")
    other = started(cells, prefixes, SHARED, "", arrival=1)
    assert prefixes.find(other, [one]) is None
    prefixes.leave(one, keep=True)
    assert prefixes.find(other, []) is None
    assert prefixes.find(one, []) is not None  # its own, after a pause


def test_a_running_owner_shares_and_the_last_token_is_computed_anyway() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)
    owner = started(cells, prefixes, [*SHARED, 5])
    match = prefixes.find(started(cells, prefixes, SHARED, arrival=1), [owner])
    assert match is not None
    assert (match.source, match.length, match.ready) == (owner, len(SHARED) - 1, True)


def test_a_few_common_tokens_are_not_worth_sharing() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)
    prefixes.leave(started(cells, prefixes, SHARED), keep=True)
    assert prefixes.find(started(cells, prefixes, [*SHARED[: SHORTEST - 1], 1, 2]), []) is None


def test_a_memory_that_can_not_be_cut_is_taken_whole_or_not_at_all() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=True)
    owner = started(cells, prefixes, [*SHARED, 5])
    longer = started(cells, prefixes, [*SHARED, 6, 7], arrival=1)
    assert prefixes.find(longer, [owner]) is None
    prefixes.leave(owner, keep=True)
    assert prefixes.find(started(cells, prefixes, [*SHARED[:100], 1, 2]), []) is None
    match = prefixes.find(longer, [])
    assert match is not None
    assert match.length == len(SHARED)
    prefixes.trim(150)
    assert prefixes.cells == 0


def test_room_is_made_by_the_oldest_and_ends_go_before_beginnings() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)
    for start in (0, 300, 600):
        prefixes.leave(started(cells, prefixes, list(range(start, start + 101))), keep=True)
    assert prefixes.cells == 300
    prefixes.trim(160)
    assert prefixes.cells == 160
    assert sorted(cells.held.values()) == [60, 100]
    prefixes.trim(0)
    assert cells.held == {}


def test_there_is_always_a_number_for_one_that_starts() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 4, 2, whole=False)
    for start in range(0, 3000, 300):
        one = started(cells, prefixes, list(range(start, start + 50)))
        other = started(cells, prefixes, list(range(start + 100, start + 150)))
        assert one.slot != other.slot
        prefixes.leave(one, keep=True)
        prefixes.leave(other, keep=True)
    assert len(cells.held) == 2


def test_one_taken_over_whole_is_not_kept_twice() -> None:
    cells = Cells()
    prefixes = Prefixes(cells, 8, 2, whole=False)
    prefixes.leave(started(cells, prefixes, SHARED), keep=True)
    later = started(cells, prefixes, [*SHARED[:199], 1, 2, 3])
    prefixes._memory.remove(later.slot)
    match = prefixes.find(later, [])
    assert match is not None
    assert isinstance(match.source, Kept)
    prefixes.share(match, later.slot)
    assert prefixes.cells == 0
    assert cells.held == {later.slot: 199}


@pytest.mark.parametrize("slope", [0.1e-6, 0.27e-6, 2e-6])
def test_the_price_of_a_cell_is_learnt_from_steps(slope: float) -> None:
    """Within a third; `slope` is seconds a cell."""
    chance = random.Random(3)
    budget = RetentionBudget()
    for step in range(20_000):
        cells = 500 + step % 5000
        budget.observe(1, 1, cells, (0.008 + slope * cells) * chance.uniform(0.9, 1.1))
    allowed = 0.05 * (0.008 + slope * 3000) / slope
    assert 0.67 * allowed < budget.cells < 1.5 * allowed


def test_before_anything_is_measured_a_modest_figure_holds() -> None:
    budget = RetentionBudget()
    budget.observe(1, 1, 100, 0.0)
    assert budget.cells == 1400


def send(
    engine: Engine, tokens: list[int], key: str = "a", *, max_tokens: int = 4, seed: int | None = None
) -> Generation:
    sampling = Sampling(temperature=0, seed=seed)
    return engine.submit(GenerationRequest(tokens, max_tokens, sampling, fairness_key=key))


def cached(generation: Generation) -> int:
    finished = answer(generation)[1]
    assert finished.error is None
    return finished.usage.cached_tokens


def test_the_same_user_reuses_and_another_does_not() -> None:
    with engine_of(OPTIONS) as engine:
        assert cached(send(engine, [*SHARED, 7, 8])) == 0
        assert cached(send(engine, [*SHARED, 9])) == len(SHARED)
        assert cached(send(engine, [*SHARED, 9], "b")) == 0
        assert cached(send(engine, [*SHARED, 9], "")) == 0


def test_a_reuse_key_of_its_own_shares_between_users() -> None:
    with engine_of(OPTIONS) as engine:
        for user, expected in (("a", 0), ("b", len(SHARED))):
            request = GenerationRequest([*SHARED, 5], 2, GREEDY, fairness_key=user, reuse_key="base")
            assert cached(engine.submit(request)) == expected


def test_cells_of_a_running_owner_are_shared_and_its_text_goes_on() -> None:
    # steps of other sizes round otherwise: fixed figures, and a text that goes on in one way only
    with engine_of(EngineOptions(context_length=512, kv_tokens=2048, slots=4, threads=1, mixed_chunk=64)) as engine:
        shared = engine.vocabulary.tokenize("one two three four five six seven eight nine ten. " * 18)
        counting = [*shared, *engine.vocabulary.tokenize("one two three")]
        alone = answer(send(engine, counting, "", max_tokens=8))[0]
        assert alone.startswith(" four five six")
        gate = StepGate(engine)
        owner = send(engine, counting, max_tokens=8)
        begun = engine.queue().steps
        gate.allow(4)
        settled(engine, lambda state: state.steps == begun + 4)
        later = send(engine, [*shared, *engine.vocabulary.tokenize("seven")])
        gate.open()
        assert cached(later) == len(shared)
        assert answer(owner)[0] == alone
        settled(engine, idle)


def test_equal_prompts_that_come_together_are_computed_once() -> None:
    with engine_of(OPTIONS) as engine:
        gate = StepGate(engine)
        generations = [send(engine, [*SHARED, number], max_tokens=1) for number in range(4)]
        gate.allow(1)  # the first may have begun before the others came
        settled(engine, lambda state: state.running == 4)
        gate.open()
        assert sorted(cached(generation) for generation in generations) == [0] + [len(SHARED)] * 3
        settled(engine, idle)
        assert engine.queue().steps <= 5


def test_followers_of_one_that_is_cancelled_take_what_it_had_and_go_on() -> None:
    with engine_of(EngineOptions(context_length=512, kv_tokens=2048, slots=4, prompt_chunk=64)) as engine:
        gate = StepGate(engine)
        leader = send(engine, [*SHARED, 7])
        settled(engine, lambda state: state.running == 1)
        followers = [send(engine, [*SHARED, number]) for number in range(2)]
        gate.allow(1)
        settled(engine, lambda state: state.steps == 1)
        leader.cancel()
        gate.open()
        assert answer(leader)[1].reason == "cancelled"
        assert all(cached(generation) >= 64 for generation in followers)
        settled(engine, idle)


def test_reuse_gives_the_text_of_a_cold_start_up_to_near_ties() -> None:
    with engine_of(OPTIONS) as engine:
        cold = answer(send(engine, [*SHARED, 7, 8, 9], "", max_tokens=8))[0]
        answer(send(engine, [*SHARED, 7]))
        warm = answer(send(engine, [*SHARED, 7, 8, 9], max_tokens=8))
        assert warm[1].usage.cached_tokens == len(SHARED) + 1
        assert warm[0] == cold


def test_a_seed_asks_for_the_same_text_and_takes_no_cells() -> None:
    with engine_of(OPTIONS) as engine:
        texts = []
        for _ in range(2):
            answer(send(engine, [*SHARED, 7]))
            text, finished = answer(send(engine, [*SHARED, 8], max_tokens=24, seed=1))
            assert finished.usage.cached_tokens == 0
            texts.append(text)
        assert texts[0] == texts[1]


def test_a_step_that_fails_leaves_no_cell_to_be_reused() -> None:
    with engine_of(OPTIONS) as engine:
        assert cached(send(engine, [*SHARED, 7])) == 0
        gate = StepGate(engine)
        gate.fail_with = -3
        broken = send(engine, [5] * 40, "b")
        gate.open()
        assert answer(broken)[1].reason == "error"
        assert cached(send(engine, [*SHARED, 7])) == 0


def test_fewer_cells_are_kept_while_several_answers_pay_for_them() -> None:
    budget = RetentionBudget()
    assert budget.beside(1) == budget.beside(2) == budget.cells
    assert budget.beside(8) == budget.beside(16) < budget.beside(3) == budget.beside(7) < budget.cells
