"""The page about the simulator says what the simulator says of itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from gpukeeper.simulator.admin.admin_routes import ADMIN_ROUTES
from gpukeeper.simulator.json_codec import encode
from gpukeeper.simulator.machines.interventions import ACTIONS
from gpukeeper.simulator.machines.scripted_fates import FateKind
from gpukeeper.simulator.novita_api.fault_rules import FAULT_KINDS, ROUTE_NAMES
from gpukeeper.simulator.simulator_settings import (
    FAST_PHASE_SECONDS,
    PHASE_SECONDS,
    Settings,
    meanings,
)

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def rows() -> Iterator[str]:
    """Yield every table row that the page must have."""
    for route in ADMIN_ROUTES:
        yield f"| `{route.method} {route.path}` | {route.does} |"
    for name, action in ACTIONS.items():
        yield f"| `{name}` | {action.does} |"
    for kind, does in FAULT_KINDS.items():
        yield f"| `{kind}` | {does} |"
    yield from setting_rows()
    for phase, (shortest, longest) in PHASE_SECONDS.items():
        fast_shortest, fast_longest = FAST_PHASE_SECONDS[phase]
        spans = f"{shortest:g} to {longest:g} | {fast_shortest:g} to {fast_longest:g}"
        yield f"| `{phase}` | {spans} |"


def setting_rows() -> Iterator[str]:
    """Yield the row of every setting: name, default, the other values, meaning."""
    defaults = encode(Settings())
    hints = get_type_hints(Settings)
    for name, meaning in meanings().items():
        default = "see below" if name == "phase_seconds" else f"`{json.dumps(defaults[name])}`"
        words = get_args(hints[name]) if get_origin(hints[name]) is Literal else ()
        others = ", ".join(f"`{json.dumps(word)}`" for word in words if word != defaults[name])
        yield f"| `{name}` | {default} | {others} | {meaning} |"


def test_the_page_has_every_route_action_fault_setting_and_phase() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert [row for row in rows() if row not in lines] == []


def test_the_page_names_every_route_of_novita_and_every_fate() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [word for word in (*ROUTE_NAMES, *get_args(FateKind)) if f"`{word}`" not in text] == []
