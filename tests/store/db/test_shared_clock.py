"""One time for all processes: the database's, told by each one's own steady clock."""

from dataclasses import dataclass

from gpukeeper.store.db.shared_clock import SharedClock
from tests.store.rows import NOW, SECOND


@dataclass(slots=True)
class Steady:
    """Seconds that a test lets pass."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_until_it_is_set_it_goes_on_from_where_it_began() -> None:
    steady = Steady()
    clock = SharedClock(NOW, steady=steady)
    assert clock() == NOW
    steady.seconds += 7
    assert clock() == NOW + 7 * SECOND


def test_the_database_told_its_time_in_the_middle_between_question_and_answer() -> None:
    steady = Steady()
    clock = SharedClock(NOW, steady=steady)
    asked = clock.ask()
    steady.seconds += 4
    clock.set(NOW + 100 * SECOND, asked=asked)
    assert clock() == NOW + 102 * SECOND
    steady.seconds += 3
    assert clock() == NOW + 105 * SECOND


def test_the_time_is_set_back_as_well_as_forward() -> None:
    steady = Steady()
    clock = SharedClock(NOW, steady=steady)
    clock.set(NOW - 60 * SECOND, asked=clock.ask())
    assert clock() == NOW - 60 * SECOND


def test_two_processes_agree_whatever_their_own_clocks_say() -> None:
    one, other = Steady(5), Steady(70_000)
    clocks = [SharedClock(NOW, steady=one), SharedClock(NOW + 3600 * SECOND, steady=other)]
    for clock in clocks:
        clock.set(NOW, asked=clock.ask())
    one.seconds += 10
    other.seconds += 10
    assert [clock() for clock in clocks] == [NOW + 10 * SECOND] * 2
