"""What goes wrong at Novita: nearly a third of its answers, and how its listings behave."""

from dataclasses import replace
from random import Random

from gpukeeper.engine.price_check import ANSWERED_WITHIN
from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import PHASE_SECONDS, Settings

# Simulated seconds that are longer than the client waits for an answer (30).
_TOO_LATE = 45.0
# As long as a price may be old when a purchase is sent, and a connection more.
PRICE_HOLDS_SECONDS = ANSWERED_WITHIN.total_seconds() + 1
# Shares of all answers, and what is wrong with them; together they are 30 %.
WEATHER: tuple[tuple[float, Fault], ...] = (
    (0.05, Fault(kind="rate-limit")),
    (0.02, Fault(kind="rate-limit", retry_after=5)),
    (0.03, Fault(kind="error", status=500)),
    (0.02, Fault(kind="error", status=503, when="after")),
    (0.03, Fault(kind="html", status=502)),
    (0.02, Fault(kind="html", status=504, when="after")),
    (0.02, Fault(kind="reset")),
    (0.03, Fault(kind="reset", when="after")),
    (0.01, Fault(kind="cut")),
    (0.01, Fault(kind="truncated")),
    (0.005, Fault(kind="gateway", status=404)),
    (0.005, Fault(kind="gateway", status=200)),
    (0.01, Fault(kind="empty")),
    (0.01, Fault(kind="error-200", status=500)),
    (0.005, Fault(kind="slow", seconds=8)),
    (0.005, Fault(kind="timeout", seconds=60)),
    (0.01, Fault(kind="slow", seconds=_TOO_LATE)),
    (0.01, Fault(kind="slow", seconds=_TOO_LATE, when="after")),
)
# Shares of the listings that lie, on top.
_LISTINGS: tuple[tuple[float, Fault], ...] = (
    (0.04, Fault(kind="short-list", route="list", rows=3)),
    (0.04, Fault(kind="empty-list", route="list")),
    (0.04, Fault(kind="shift-pages", route="list")),
)
# Connections that are refused, on top: nothing was sent then.
REFUSED = 0.01


def word_for(fault: Fault) -> str:
    """Return what a fault does to an answer, in the words of the figures."""
    if fault.for_seconds is not None:
        return "in an outage"
    if fault.route == "list":
        return "a listing that lies"
    if fault.kind == "slow":
        is_too_late = fault.seconds == _TOO_LATE
        late = f"too late, its effect {'in time' if fault.when == 'after' else 'late too'}"
        return late if is_too_late else "slow"
    if fault.kind in ("reset", "timeout"):
        return f"lost {fault.when} taking effect"
    if fault.kind == "gateway":
        return "a gateway's own JSON"
    if fault.kind in ("error", "error-200"):
        return f"5xx {fault.when} taking effect"
    return {"rate-limit": "429", "html": f"HTML {fault.when} taking effect"}.get(
        fault.kind, "truncated, cut or empty"
    )


def break_out(world: World) -> None:
    """Let the weather begin.  Of several rules only the first that strikes counts."""
    spared = 1.0
    for share, fault in WEATHER:
        world.faults.add(replace(fault, probability=share / spared), world.now())
        spared -= share
    for share, fault in _LISTINGS:
        world.faults.add(replace(fault, probability=share), world.now())


def fail_for_a_while(world: World, seconds: float) -> None:
    """Let every answer be a gateway's page for so long."""
    world.faults.add(Fault(kind="html", status=503, for_seconds=seconds), world.now())


def hide_the_newest(world: World, seconds: float) -> None:
    """Let listings leave out, without saying so, what was bought in the last ``seconds``.

    With 0 they show again what they usually show.
    """
    usual = habits(world.settings.seed).list_lag_seconds
    world.settings = replace(world.settings, list_lag_seconds=max(seconds, usual))


def habits(seed: int) -> Settings:
    """Return how Novita behaves in a run where its documentation is silent."""
    random = Random(f"{seed} habits")
    return Settings(
        seed=seed,
        balance_usd=10_000_000,
        phase_seconds={**PHASE_SECONDS, "pulling": (5, 400)},
        list_lag_seconds=random.choice((0, 5, 20)),
        get_lag_seconds=random.choice((0, 3, 10)),
        list_behind_seconds=random.choice((0, 5, 15)),
        removed_in_get=random.choice((False, True)),
        boot_error_leaves=random.choice(("stuck", "exited")),
        start_refused_after_stop=0.1,
        state_change=random.choice(("honest", "acts-and-refuses")),
        repeated_delete=random.choice(("accepted", "not-found", "invalid-state")),
        odd_status_probability=random.choice((0, 0.01)),
        total_as=random.choice(("number", "string")),
        not_found=random.choice(("404", "400", "404-typo")),
        page_base=random.choice(("zero-is-one", "zero", "one")),
        page_size_max=random.choice((20, 100)),
        stock_lag_seconds=30,
        spot_lifetime_seconds=20_000,
        spot_notice=random.choice(("given", "none", "zero")),
        spot_notice_seconds=random.choice((60, 1800)),
        spot_end=random.choice(("exited", "vanished")),
        spot_in_get=random.choice((True, False)),
        settle_seconds=0,
        # Prices move at every call, and nobody can look at one later than it is asked for.
        price_step_percent=random.choice((5, 40)),
        price_honoured_seconds=PRICE_HOLDS_SECONDS,
        machine_price=random.choice(("fixed", "start")),
    )
