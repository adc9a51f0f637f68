"""One new object, one run: whatever the order of deliveries, and wherever the instances of the function die."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfp_magics.delivery.newdata.once import LEASE, AgainError, Once
from kfp_magics.delivery.newdata.rules import NewObject, Rule, RuleError
from tests.delivery.stage import DownError, Instance, Seen, World

Choose = Callable[[list], object]
WAYS = pytest.mark.parametrize("gather", [0.0, 30.0], ids=["each", "gathered"])


def thing(number: int, generation: int = 1) -> NewObject:
    return NewObject(
        bucket="wares", name=f"in/{number}.csv", generation=str(generation), time=f"2026-11-24T00:00:{number:02}Z"
    )


def rule(gather: float, function: str = "") -> Rule:
    return Rule(
        name="fit", on="gs://wares/in/*", pipeline="fit", templates={"data": "$uris"}, gather=gather, function=function
    )


def deliver(world: World, rule: Rule, found: NewObject) -> Instance:
    seen = Seen(world)
    once = Once(rule, seen, seen, clock=seen.clock, sleep=seen.sleep)
    seen.instance = Instance(lambda: once.take(found))
    seen.instance.begin()
    return seen.instance


def play(world: World, rule: Rule, deliveries: list[NewObject], choose: Choose, deaths: int) -> None:
    """Delivers events, several at once, each again until it is answered with success; as Eventarc does."""
    waiting = [(world.now, one) for one in deliveries]
    alive: list[tuple[Instance, NewObject]] = []
    for _ in range(20_000):
        due = [one for one in waiting if one[0] <= world.now]
        awake = [one for one in alive if one[0].wakes <= world.now]
        if not waiting and not alive:
            return
        if not due and not awake:
            world.now = min([at for at, _ in waiting] + [one.wakes for one, _ in alive])
            continue
        chosen = choose([*awake, *due])
        if chosen in due:
            waiting.remove(chosen)
            alive.append((deliver(world, rule, chosen[1]), chosen[1]))
            continue
        instance, found = chosen
        fate = choose(["goes on"] * 6 + ["dies before", "dies after"]) if deaths > 0 else "goes on"
        deaths -= fate != "goes on"
        instance.step(fate)
        if instance.over:
            alive.remove(chosen)
            if isinstance(instance.failed, AgainError | DownError | RuleError) or instance.killed:
                waiting.append((world.now + choose([10.0, 60.0, 600.0]), found))
            elif instance.failed is not None:
                raise instance.failed
    raise AssertionError("the deliveries never end")


def started(world: World) -> Counter[str]:
    return Counter(one.key for job in world.runs for one in job.objects)


@WAYS
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_object_starts_exactly_one_run_whatever_happens(gather: float, data: st.DataObject) -> None:
    things = [thing(number) for number in range(data.draw(st.integers(1, 4), "objects"))]
    copies = data.draw(st.lists(st.sampled_from(things), max_size=5), "delivered again")
    deliveries = data.draw(st.permutations([*things, *copies]), "order")
    world = World()
    world.down = data.draw(st.integers(0, 4), "refusals")
    deaths = data.draw(st.integers(0, 5), "deaths")
    play(world, rule(gather), deliveries, lambda some: data.draw(st.sampled_from(some)), deaths)
    assert started(world) == {one.key: 1 for one in things}
    assert [key for key in world.entries if not key.startswith("objects/")] == []


@WAYS
def test_killed_between_any_two_things_that_it_does(gather: float) -> None:
    for place, fate in itertools.product(range(1000), ["dies before", "dies after"]):
        world = World()
        first = deliver(world, rule(gather), thing(1))
        for _ in range(place):
            first.step("goes on")
            world.now = max(world.now, first.wakes)
            if first.over:
                assert place > 4
                return
        first.step(fate)
        assert first.killed
        play(world, rule(gather), [thing(1)], lambda some: some[0], 0)
        assert started(world) == {thing(1).key: 1}, (place, fate)
    raise AssertionError("it never ended")


@WAYS
def test_three_deliveries_after_another_and_three_at_once(gather: float) -> None:
    for choose in (lambda some: some[0], lambda some: some[-1]):
        world = World()
        play(world, rule(gather), [thing(1)] * 3, choose, 0)
        assert started(world) == {thing(1).key: 1}
        play(world, rule(gather), [thing(1)], choose, 0)
        assert len(world.runs) == 1


@WAYS
def test_new_content_is_a_new_object(gather: float) -> None:
    world = World()
    for generation in (1, 2):
        play(world, rule(gather), [thing(1, generation)], lambda some: some[0], 0)
    assert len(world.runs) == 2


def test_a_burst_is_one_run_of_the_oldest_first() -> None:
    world = World()
    play(world, rule(30.0), [thing(number) for number in (3, 1, 2)], lambda some: some[-1], 0)
    [run] = world.runs
    assert run.parameters["data"] == '["gs://wares/in/1.csv", "gs://wares/in/2.csv", "gs://wares/in/3.csv"]'


def test_a_server_that_is_down_does_not_make_the_next_delivery_wait() -> None:
    world = World()
    world.down = 1
    play(world, rule(0.0), [thing(1)], lambda some: some[0], 0)
    assert len(world.runs) == 1
    assert world.now - 1_000_000.0 < LEASE


@WAYS
def test_a_function_that_declines_starts_nothing(gather: float) -> None:
    world = World()
    play(world, rule(gather, "def f(event):\n    return None\n"), [thing(1), thing(2)], lambda some: some[0], 0)
    assert world.runs == []
