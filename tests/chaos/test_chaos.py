"""Small chaos runs with fixed seeds; `make chaos` runs a large one."""

from pathlib import Path

import pytest

from gpukeeper.domain.lifecycle import purchases
from gpukeeper.engine.price_check import Quote
from tests.chaos import outages
from tests.chaos.run import run
from tests.instances import edit

# Each seed is another Novita (its lags, page numbers, refusals), other people, other weather.
SEEDS = (1, 2, 13)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken_in_bad_weather(tmp_path: Path, seed: int) -> None:
    result = run(tmp_path, orders=40, hours=2, seed=seed)

    assert result.broken == []
    # It was bad weather, and it was not for nothing.
    assert result.figures["machines doubled"] == 0
    assert int(str(result.figures["lost answers looked up"])) > 0
    assert int(str(result.figures["  adopted"])) > 0
    assert int(str(result.figures["attempts"])) > int(str(result.figures["deliveries"]))


def test_buying_again_without_looking_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        purchases, "record_lost_answer", lambda row, now, limits: edit(row, intent=None)
    )

    result = run(tmp_path, orders=30, hours=1, seed=1)

    assert result.figures["machines doubled"] != 0
    assert any("was bought" in sentence for sentence in result.broken)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    once = run(first, orders=8, hours=0.5, seed=3)
    again = run(second, orders=8, hours=0.5, seed=3)

    assert once == again
    assert run(tmp_path, orders=8, hours=0.5, seed=4).figures != once.figures


def test_buying_without_asking_for_the_price_again_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trust(quote: Quote, has_waited: bool) -> None:
        """Buy at whatever was chosen, however long ago."""

    monkeypatch.setattr(Quote, "confirm", trust)
    # A Novita that holds no price for anybody, so that no seed has to be lucky.
    monkeypatch.setattr(outages, "PRICE_HOLDS_SECONDS", 0.0)

    result = run(tmp_path, orders=120, hours=1, seed=7)

    assert any("above its limit" in sentence for sentence in result.broken)
