"""Every error has a stable code and a sentence, and keeps what is known of its cause."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from gpukeeper.domain.errors import (
    Fault,
    GpuKeeperError,
    InvalidConfiguration,
    InvalidOrder,
    NothingForSale,
    NovitaError,
    NovitaUnavailable,
    OutcomeUnknown,
    RateLimited,
)


def every(kind: type[GpuKeeperError]) -> Iterator[type[GpuKeeperError]]:
    yield kind
    for narrower in kind.__subclasses__():
        if narrower.__module__ == kind.__module__:
            yield from every(narrower)


SIMPLE = sorted(set(every(GpuKeeperError)) - {InvalidConfiguration}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", SIMPLE)
def test_an_error_speaks_for_itself(kind: type[GpuKeeperError]) -> None:
    error = kind()
    assert error.error_code == kind.code
    assert str(error) == error.message == (kind.__doc__ or "").strip()
    assert kind("Other words.").message == "Other words."
    assert kind(code="finer").error_code == "finer"


def test_what_novita_did_keeps_novitas_own_words() -> None:
    error = NovitaError("No.", reason="VALIDATOR_PARAM", status=400)
    assert (error.reason, error.status) == ("VALIDATOR_PARAM", 400)


def test_an_unavailable_novita_may_say_how_long_to_wait() -> None:
    wait = timedelta(seconds=7)
    error = RateLimited(retry_after=wait, status=429)
    assert (error.retry_after, error.status) == (wait, 429)
    assert NovitaUnavailable().retry_after is None


def test_a_lost_answer_is_never_mistaken_for_one_that_may_be_repeated() -> None:
    assert not issubclass(OutcomeUnknown, NovitaUnavailable)


def test_an_order_nothing_fits_says_why_in_its_code() -> None:
    assert NothingForSale().error_code == "out_of_stock"
    assert NothingForSale(code="price_above_limit").error_code == "price_above_limit"


def test_every_fault_of_an_order_is_kept() -> None:
    faults = [Fault("name", "is missing"), Fault("gpuNum", "is too large")]
    assert InvalidOrder(faults=faults).faults == tuple(faults)


def test_bad_configuration_names_every_fault() -> None:
    faults = [Fault("NOVITA_API_KEY", "is missing"), Fault("GPUKEEPER_PORT", "is no number")]
    error = InvalidConfiguration(faults)
    assert error.faults == tuple(faults)
    assert str(error) == "NOVITA_API_KEY: is missing; GPUKEEPER_PORT: is no number"
