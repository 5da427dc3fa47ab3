"""Whatever happens in whatever order: one machine per order at most, and none forgotten."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gpukeeper.domain.errors import NothingForSale, NovitaError, WrongStatus
from gpukeeper.domain.instances import Command, DesiredState, Instance, OnFailure, Status
from gpukeeper.domain.lifecycle import observations, purchases
from gpukeeper.domain.lifecycle.command_results import apply_command_result
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import decide, schedule, settle
from gpukeeper.domain.lifecycle.steps import (
    ChangeStatus,
    ChooseOffer,
    Confirm,
    DeleteDuplicate,
    LookUp,
    SendCommand,
    Wait,
)
from gpukeeper.domain.lifecycle.transitions import IN_TRANSIT
from gpukeeper.domain.machines import Phase, SpotSignal
from gpukeeper.domain.products import BillingMode
from tests.domain.builders import LIMITS, NOW, ORDER, REPEATABLE, SECOND, TEMPLATE, offer, requested
from tests.domain.lifecycle.laws import check_change, check_end, check_may_ask
from tests.domain.lifecycle.world import Fate, Novita

Fold = Callable[[Instance], Instance]

OFFERS = (offer("4090.a"), offer("4090.b"))
# Longer than the longest chain of steps that is due at one moment.
STEPS_AT_ONCE = 12
# More than a start-up or the longest patience takes at two looks a minute.
HONEST_LOOKS = 60
# A row that so many looks leave as it is has come to its end.
QUIET_LOOKS = 3
# What the owner wanted has come true by then, or never will.
SETTLED = {Status.RUNNING, Status.STOPPED, Status.RECLAIMED, Status.FAILED}

seconds = st.sampled_from([1, 3, 29, 31, 61, 91, 301])
lags = st.sampled_from([0, 5, 60]).map(lambda lag: timedelta(seconds=lag))
phases = st.sampled_from(Phase)
fates = st.sampled_from(Fate)


def constantly(row: Instance) -> Fold:
    return lambda _: row


class Life(RuleBasedStateMachine):
    """One order, one engine that may die at any moment, one owner, and Novita."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.novita = Novita()
        self.row = requested()
        self.under_way: Fold | None = None
        self.owner_wants: Command | None = None
        self.is_sound = True

    @initialize(mode=st.sampled_from(BillingMode), on_failure=st.sampled_from(OnFailure))
    def an_order_is_placed(self, mode: BillingMode, on_failure: OnFailure) -> None:
        order = replace(ORDER, billing_mode=mode, on_failure=on_failure)
        self.row = schedule(requested(order=order), self.now, LIMITS)

    @rule(duration=seconds)
    def time_passes(self, duration: int) -> None:
        self.now += duration * SECOND

    @precondition(lambda self: self.under_way is None)
    @rule(fate=fates, lag=lags, is_complete=st.booleans())
    def the_engine_begins_a_step(self, fate: Fate, lag: timedelta, is_complete: bool) -> None:
        self.under_way = self.perform(fate, lag, is_complete)

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def the_engine_ends_its_step(self) -> None:
        fold, self.under_way = self.under_way, None
        assert fold is not None
        self.fold(fold)

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def the_engine_dies(self) -> None:
        self.under_way = None

    @precondition(lambda self: self.under_way is None)
    @rule(fate=fates, lag=lags, is_complete=st.booleans())
    def the_engine_takes_its_next_step(self, fate: Fate, lag: timedelta, is_complete: bool) -> None:
        self.now = max(self.now, self.row.due_at or self.now)
        fold = self.perform(fate, lag, is_complete)
        if fold is not None:
            self.fold(fold)

    @rule(verb=st.sampled_from(Command))
    def the_owner_wants_something(self, verb: Command) -> None:
        try:
            self.fold(lambda row: request_command(row, verb, self.now))
        except WrongStatus:
            return
        if self.owner_wants is not Command.DELETE:
            self.owner_wants = verb

    @precondition(lambda self: self.novita.alive)
    @rule(phase=phases, error=st.sampled_from(["", "no image"]), signal=st.sampled_from(SpotSignal))
    def a_machine_changes_by_itself(self, phase: Phase, error: str, signal: SpotSignal) -> None:
        machine = self.novita.alive[0]
        machine.phase, machine.error, machine.signal = phase, error, signal

    @precondition(lambda self: self.row.machine.novita_id)
    @rule(age=st.integers(1, 3))
    def an_old_listing_is_taken_in(self, age: int) -> None:
        machine = self.novita.find(str(self.row.machine.novita_id))
        if machine.shown:
            said = machine.look_back(self.now, age)
            self.fold(lambda row: observations.observe(row, said, self.now, LIMITS))

    @precondition(lambda self: self.row.machine.novita_id)
    @rule()
    def a_listing_is_taken_in(self) -> None:
        self.sweep()

    @precondition(lambda self: self.row.machine.novita_id)
    @rule()
    def the_owner_asks_for_a_fresh_look(self) -> None:
        self.fold(self.get(str(self.row.machine.novita_id)))

    @precondition(lambda self: self.under_way is None)
    @rule()
    def novita_is_honest_for_a_minute(self) -> None:
        self.go_on_honestly()
        self.go_on_honestly()

    def teardown(self) -> None:
        """Let Novita be honest until everything has come to its end, unless a check failed."""
        if not self.is_sound:
            return
        if self.under_way is not None:
            self.the_engine_ends_its_step()
        quiet = 0
        for _ in range(HONEST_LOOKS):
            before = self.row
            self.go_on_honestly()
            quiet = quiet + 1 if self.row == before else 0
            if quiet == QUIET_LOOKS and self.row.status not in IN_TRANSIT:
                break
        check_end(self.row, self.novita.alive, self.owner_wants)

    def go_on_honestly(self) -> None:
        self.do_what_is_due()
        self.now += 30 * SECOND
        self.novita.go_on()
        if self.row.machine.novita_id:
            self.sweep()

    def do_what_is_due(self) -> None:
        """Take every step that is due now, of which there is an end."""
        for _ in range(STEPS_AT_ONCE):
            if self.row.due_at is None or self.row.due_at > self.now:
                return
            fold = self.perform(Fate.ACCEPTED, timedelta(0), is_complete=True)
            if fold is not None:
                self.fold(fold)
        raise AssertionError(f"never at rest: {self.row}")

    def perform(self, fate: Fate, lag: timedelta, is_complete: bool) -> Fold | None:
        """Do what is decided, and return how its outcome is folded in."""
        now = self.now
        match decide(self.row, now, LIMITS):
            case Wait(until=until):
                assert until is None or until > now
                return None
            case ChangeStatus():
                self.move()
                return None
            case ChooseOffer():
                return self.buy(fate, lag)
            case LookUp():
                if fate is Fate.UNAVAILABLE:
                    return lambda row: purchases.postpone_lookup(row, self.now)
                shown = [m for m in self.novita.alive if m.is_shown(now)] if is_complete else []
                found = [machine.look(now) for machine in shown]
                return lambda row: purchases.record_lookup(
                    row, found, self.now, LIMITS, asked_at=now, is_complete=is_complete
                )
            case Confirm():
                if fate is Fate.UNAVAILABLE:
                    return lambda row: observations.postpone_confirmation(row, self.now, 2 * SECOND)
                return self.get(str(self.row.machine.novita_id))
            case DeleteDuplicate():
                raise AssertionError("nobody here answers a purchase after its look-up")
            case SendCommand(command=verb):
                check_may_ask(self.row, verb, self.owner_wants)
                answer = self.novita.change(str(self.row.machine.novita_id), verb, fate, now)
                return lambda row: apply_command_result(row, verb, answer, self.now, LIMITS)

    def move(self) -> None:
        """Follow the changes that need nobody until something else is to be done."""
        for _ in range(STEPS_AT_ONCE):
            if not isinstance(decide(self.row, self.now, LIMITS), ChangeStatus):
                return
            settled = settle(self.row, self.now, LIMITS)
            if settled.status is Status.DELETING:
                assert self.row.running_at is None
                assert self.row.order.on_failure is OnFailure.DELETE
            self.fold(constantly(settled))
        raise AssertionError(f"moves for ever: {self.row}")

    def buy(self, fate: Fate, lag: timedelta) -> Fold | None:
        assert not self.novita.alive
        if fate is Fate.REFUSED:
            return lambda row: purchases.record_nothing_chosen(
                row, NothingForSale(), self.now, LIMITS
            )
        chosen = purchases.choose_offer(self.row, OFFERS)
        self.fold(lambda row: purchases.record_choice(row, chosen, TEMPLATE, self.now))
        if chosen is None:
            return None
        answer = self.novita.sell(fate, self.now, lag)
        if isinstance(answer, NovitaError):
            return lambda row: purchases.record_refusal(row, chosen, answer, self.now, LIMITS)
        return lambda row: purchases.record_purchase(row, chosen, answer, self.now)

    def get(self, novita_id: str) -> Fold:
        machine = self.novita.find(novita_id)
        if not machine.is_shown(self.now):
            return lambda row: observations.confirm_missing(row, self.now, LIMITS)
        said = machine.look(self.now)
        return lambda row: observations.observe(row, said, self.now, LIMITS, is_single=True)

    def sweep(self) -> None:
        machine = self.novita.find(str(self.row.machine.novita_id))
        if not machine.is_shown(self.now):
            self.fold(lambda row: observations.record_missing(row, self.now, LIMITS))
            return
        said = machine.look(self.now)
        if observations.fingerprint(said) != self.row.watch.seen_fingerprint:
            self.fold(lambda row: observations.observe(row, said, self.now, LIMITS))

    def fold(self, change: Fold) -> None:
        """Keep the row as the store does, and check what always holds."""
        before, now = self.row, self.now
        after = schedule(change(before), now, LIMITS)
        self.is_sound = False
        self.row = after
        check_change(before, after, now, self.novita.alive)
        is_still_to_stop = (after.status, after.desired_state) == (
            Status.FAILED,
            DesiredState.STOPPED,
        )
        is_settled = after.status in SETTLED and not is_still_to_stop
        if before.status is not after.status and is_settled:
            self.owner_wants = Command.DELETE if self.owner_wants is Command.DELETE else None
        self.is_sound = True


class LaterLife(Life):
    """The same, begun when the machine runs."""

    @initialize(mode=st.sampled_from(BillingMode), on_failure=st.sampled_from(OnFailure))
    def an_order_is_placed(self, mode: BillingMode, on_failure: OnFailure) -> None:
        super().an_order_is_placed(mode, on_failure)
        while self.row.status is not Status.RUNNING:
            self.go_on_honestly()


TestLife = Life.TestCase
TestLife.settings = settings(REPEATABLE, max_examples=250, stateful_step_count=30)
TestLaterLife = LaterLife.TestCase
TestLaterLife.settings = settings(REPEATABLE, max_examples=250, stateful_step_count=30)
