"""Whatever is killed, paused or lost between any two of the five lines: one machine per order."""

import os
import tempfile
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gpukeeper.domain.errors import WrongStatus
from gpukeeper.domain.instances import Command
from gpukeeper.domain.products import BillingMode
from gpukeeper.simulator.machines.interventions import ActionDetails, perform_action
from gpukeeper.simulator.novita_api.fault_rules import Fault
from tests.crash.engines import HOOKS, House, build_empty, misbehave
from tests.crash.invariants import bought_twice, unrest
from tests.engine.rig import ORDER
from tests.invariants import broken_always, broken_at_novita, machines_in

MAX_ORDERS = 3
# What an example begins with.
ACTIONS = 40
# Longer than any deadline, window or incident: what is not at rest by then never will be.
LONGEST_UNREST = timedelta(hours=3)
LOOKS = timedelta(minutes=4)

is_fuzzing = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
SETTINGS = settings(
    deadline=None,
    derandomize=not is_fuzzing,
    database=None,
    max_examples=2_000 if is_fuzzing else 60,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    stateful_step_count=50 if is_fuzzing else 5,
    suppress_health_check=list(HealthCheck),
)

# Most steps of an engine come in runs; an order takes about a dozen.
STEPS = (1, 2, 3, 5, 8, 13, 21)
DURATIONS = tuple(timedelta(seconds=n) for n in (1, 3, 9, 16, 21, 31, 95, 301))
PAUSES = tuple(timedelta(seconds=n) for n in (25, 61, 151))
LAGS = (0.0, 0.0, 15.0, 40.0)
ACCIDENTS = ("stop", "exit", "reclaim", "vanish", "hang-delete", "delete")
LOSSES: tuple[Any, ...] = ("reset", "error", "html", "cut", "empty")
ROUTES: tuple[Any, ...] = ("create", "create", "list", "get", "delete", "stop", "*")
WHEN: tuple[Any, ...] = ("before", "after")
# What is refused like this took no effect.
REFUSALS: tuple[Any, ...] = ("rate-limit", "unauthorized")
POOR: tuple[Any, ...] = ("empty-list", "short-list", "shift-pages")
MODES = tuple(BillingMode)

processes = st.integers(0, 1)
numbers = st.integers(0, 9)
modes = st.sampled_from(MODES)
steps = st.sampled_from(STEPS)
faults: st.SearchStrategy[Fault] = st.builds(
    Fault,
    kind=st.sampled_from(LOSSES),
    route=st.sampled_from(ROUTES),
    when=st.sampled_from(WHEN),
    times=st.integers(1, 3),
) | st.builds(
    Fault, kind=st.sampled_from(REFUSALS + POOR), route=st.just("list"), times=st.integers(1, 3)
)


@cache
def empty_store() -> bytes:
    """Return the file that every example begins with."""
    with tempfile.TemporaryDirectory(prefix="gpukeeper-crash-") as directory:
        return build_empty(Path(directory) / "empty.db")


class Crashes(RuleBasedStateMachine):
    """Two engines that may be held, killed and replaced between any two of their steps."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="gpukeeper-crash-")
        self.house = House(Path(self.directory.name) / "crash.db", empty_store())
        self.ordered: list[str] = []
        self.deleted: set[str] = set()
        self.is_sound = True

    @initialize(mode=modes, seed=st.integers(0, 2**32))
    def a_bad_hour_begins(self, mode: BillingMode, seed: int) -> None:
        """Do a bit of everything: left alone, an example does much of the same."""
        self.ordered.append(self.order(0, mode))
        random = Random(seed)
        for _ in range(ACTIONS):
            self.something_happens(random)
            self.no_order_has_two_machines()

    @precondition(lambda self: len(self.ordered) < MAX_ORDERS)
    @rule(mode=modes)
    def someone_orders(self, mode: BillingMode) -> None:
        self.ordered.append(self.order(len(self.ordered), mode))

    @rule(index=numbers, verb=st.none() | st.sampled_from(Command))
    def someone_repeats_an_order_or_wants_something(self, index: int, verb: Command | None) -> None:
        number = index % len(self.ordered)
        instance_id = self.ordered[number]
        if verb is None:
            assert self.order(number, BillingMode.SPOT) == instance_id
            return
        try:
            self.house.call(self.house.service.want(instance_id, verb))
        except WrongStatus:
            return
        if verb is Command.DELETE:
            self.deleted.add(instance_id)

    @rule(steps=steps)
    def the_first_process_moves(self, steps: int) -> None:
        self.house.move(self.house.processes[0], steps)

    @rule(steps=steps)
    def the_second_process_moves(self, steps: int) -> None:
        self.house.move(self.house.processes[1], steps)

    @rule(steps=steps)
    def both_processes_move_in_turns(self, steps: int) -> None:
        for _ in range(steps):
            for process in self.house.processes:
                self.house.move(process, 1)

    @rule(index=processes, duration=st.sampled_from(PAUSES))
    def one_process_is_paused_while_the_other_works(self, index: int, duration: timedelta) -> None:
        self.house.run(duration, alone=self.house.processes[index])

    @rule(index=processes, task=numbers)
    def one_task_goes_on(self, index: int, task: int) -> None:
        self.house.go_on(self.house.processes[index], task)

    @rule(index=processes)
    def a_process_is_killed(self, index: int) -> None:
        self.house.replace(index)

    @rule()
    def everything_is_killed(self) -> None:
        self.house.restart_all()

    @rule(duration=st.sampled_from(DURATIONS))
    def time_passes(self, duration: timedelta) -> None:
        self.house.let_time_pass(duration)

    @rule(fault=faults)
    def novita_misbehaves(self, fault: Fault) -> None:
        self.house.world.faults.add(fault, self.house.world.now())

    @rule(lags=st.tuples(*[st.sampled_from(LAGS)] * 3), is_swallowed=st.booleans())
    def novita_lags(self, lags: tuple[float, ...], is_swallowed: bool) -> None:
        self.house.is_swallowed = is_swallowed
        misbehave(
            self.house,
            list_lag_seconds=lags[0],
            list_behind_seconds=lags[1],
            get_lag_seconds=lags[2],
        )

    @rule(answers=st.lists(st.sampled_from([500, None, 302]), min_size=1, max_size=5))
    def the_receiver_is_ill(self, answers: list[int | None]) -> None:
        self.house.receiver.script = answers

    @rule(index=numbers, action=st.sampled_from(ACCIDENTS))
    def a_machine_that_is_known_has_an_accident(self, index: int, action: str) -> None:
        # One that vanishes before it is known was never there, as far as anybody can tell.
        instance_id = self.ordered[index % len(self.ordered)]
        known = self.house.call(self.house.service.instance(instance_id)).instance.machine.novita_id
        machine = self.house.world.machines.get(known or "")
        if machine is not None and machine.at(self.house.world.now()) is not None:
            seconds = 60.0 if action == "hang-delete" else None
            perform_action(self.house.world, machine, action, ActionDetails(for_seconds=seconds))

    @invariant()
    def no_order_has_two_machines(self) -> None:
        self.expect(bought_twice(self.house.world))

    @invariant()
    def every_change_is_told_once(self) -> None:
        with self.house.database.engine.begin() as connection:
            self.expect(broken_always(connection, urls=HOOKS))

    def something_happens(self, random: Random) -> None:
        """Do what one of the rules does, with values of this chance; engines move most often."""
        any_process, number = random.choice(self.house.processes), random.randrange(10)
        match random.choices(range(12), (50, 15, 10, 7, 12, 4, 7, 4, 3, 3, 3, 8))[0]:
            case 0:
                self.house.move(any_process, random.choice(STEPS))
            case 1:
                self.house.go_on(any_process, number)
            case 2:
                self.house.let_time_pass(random.choice(DURATIONS))
            case 3:
                self.a_process_is_killed(number % 2)
            case 4:
                loss, route, when = map(random.choice, (LOSSES, ROUTES, WHEN))
                self.novita_misbehaves(Fault(kind=loss, route=route, when=when, times=1))
            case 5:
                trouble = random.choice(POOR + REFUSALS)
                self.novita_misbehaves(Fault(kind=trouble, route="list", times=1 + number % 3))
            case 6:
                verb = random.choice((None, *Command))
                self.someone_repeats_an_order_or_wants_something(number, verb)
            case 7:
                self.novita_lags(tuple(random.choices(LAGS, k=3)), is_swallowed=number % 2 == 0)
            case 8:
                self.the_receiver_is_ill([500, None])
            case 9 if len(self.ordered) < MAX_ORDERS:
                self.someone_orders(random.choice(MODES))
            case 10:
                self.a_machine_that_is_known_has_an_accident(number, random.choice(ACCIDENTS))
            case 11:
                self.house.run(random.choice(PAUSES), alone=any_process)

    def teardown(self) -> None:
        """Let everything recover, and see that all promises were kept."""
        try:
            if self.is_sound:
                self.check_end()
        finally:
            self.house.close()
            self.directory.cleanup()

    def check_end(self) -> None:
        house = self.house
        house.recover()
        ends_at = house.clock() + LONGEST_UNREST
        house.run(LOOKS)
        while still := self.still_under_way():
            assert house.clock() < ends_at, still
            house.run(LOOKS)
        assert house.faults_of_our_own() == []
        assert bought_twice(house.world) == []
        with house.database.engine.begin() as connection:
            assert broken_always(connection, urls=HOOKS) == []
            assert broken_at_novita(connection, machines_in(house.world)) == []
        for instance_id in self.ordered:
            view = house.call(house.service.instance(instance_id))
            is_deleted = view.instance.status == "deleted"
            assert is_deleted == (instance_id in self.deleted), view.instance

    def still_under_way(self) -> list[str]:
        with self.house.database.engine.begin() as connection:
            return unrest(connection)

    def order(self, number: int, mode: BillingMode) -> str:
        """Order as a client that repeats what was not answered."""
        name = f"node-{number}"
        view = self.house.call(
            self.house.service.order(
                replace(ORDER, name=name, billing_mode=mode),
                idempotency_key=name,
                body_hash=name,
            )
        )
        return str(view.instance.id)

    def expect(self, broken: list[str]) -> None:
        """Fail if anything is broken, and do not look at the end then."""
        self.is_sound = self.is_sound and not broken
        assert broken == []


def test_no_crash_between_two_lines_buys_twice_or_forgets_anything() -> None:
    run_state_machine_as_test(Crashes, settings=SETTINGS)
