"""The cheapest fitting offer is bought first, and what stands in the way is said in words."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.errors import InvalidOrder, NothingForSale
from gpukeeper.domain.instances import Order
from gpukeeper.domain.offers import find_offer, find_product_name, price_list, rank
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Product
from tests.domain.builders import HONG_KONG, ON_DEMAND, ORDER, REPEATABLE, product

NAME = "RTX 4090 24GB"
CALIFORNIA = Cluster("us-ca-6", "US-CA-06 (California)")
SINGAPORE = Cluster("as-sgp-2", "AS-SGP-02")


def ranked(products: Sequence[Product], order: Order = ORDER) -> list[str]:
    return [offer.product_id for offer in rank([(HONG_KONG, products)], order, NAME)]


def refused(products: Sequence[Product], order: Order = ORDER) -> NothingForSale:
    with pytest.raises(NothingForSale) as refusal:
        rank([(HONG_KONG, products)], order, NAME)
    return refusal.value


def test_the_lowest_spot_price_comes_first() -> None:
    products = [
        product("dear", spot_price=Decimal("0.2")),
        product("cheap", spot_price=Decimal("0.1"), price=Decimal(9)),
        product("middle", spot_price=Decimal("0.15")),
    ]
    assert ranked(products) == ["cheap", "middle", "dear"]


def test_an_on_demand_order_is_ranked_by_the_on_demand_price() -> None:
    products = [product("a", price=Decimal("0.4")), product("b", price=Decimal("0.3"))]
    assert ranked(products, ON_DEMAND) == ["b", "a"]


def test_at_one_price_the_better_stock_decides_and_then_the_id() -> None:
    products = [
        product("b", stock="low"),
        product("a", stock="low"),
        product("z", stock=""),
        product("y", stock="a word not seen before"),
        product("zz", stock="normal"),
        product("e", stock="high"),
    ]
    assert ranked(products) == ["e", "zz", "y", "z", "a", "b"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "RTX 4090 48GB"},
        {"is_deployable": False},
        {"stock": "none"},
        {"spot_price": Decimal(0)},
        {"max_disk_gb": 59},
        {"regions": ("US-CA-06 (California)",)},
        {"billing_modes": ("onDemand", "monthly")},
    ],
)
def test_what_does_not_fit_is_left_out(changes: dict[str, Any]) -> None:
    assert ranked([product("fits"), product("does not", **changes)]) == ["fits"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "rtx 4090  24gb"},
        {"max_disk_gb": 60},
        {"regions": ("CN-HK-01",)},
        {"regions": ("US-CA-06 (California)", "cn-hk-01 (Hong Kong)")},
        {"regions": ("CN-Hongkong-1",)},
        {"billing_modes": ("spot",)},
        {"price": Decimal(0)},
    ],
)
def test_what_fits_in_other_words_is_offered(changes: dict[str, Any]) -> None:
    assert ranked([product("fits", **changes)]) == ["fits"]


def test_an_offer_carries_where_and_for_how_much_all_gpus_together() -> None:
    (offer,) = rank([(CALIFORNIA, [product()])], replace(ORDER, gpu_num=4), NAME)
    assert offer == Offer(
        "4090.a", NAME, "us-ca-6", "US-CA-06", BillingMode.SPOT, 4, Decimal("0.700"), "normal", 1024
    )


def test_other_regions_come_after_the_first_and_the_cheapest_of_them_first() -> None:
    market = [
        (HONG_KONG, [product("home", spot_price=Decimal(3))]),
        (CALIFORNIA, [product("west", spot_price=Decimal(2))]),
        (SINGAPORE, [product("south", spot_price=Decimal(1))]),
    ]
    assert [offer.product_id for offer in rank(market, ORDER, NAME)] == ["home", "south", "west"]


def test_a_price_equal_to_the_limit_is_within_it() -> None:
    order = replace(ORDER, gpu_num=2, max_price_per_hour=Decimal("0.35"))
    products = [product("fits"), product("dear", spot_price=Decimal("0.176"))]
    assert ranked(products, order) == ["fits"]


def test_nothing_within_the_limit_is_said_with_the_cheapest_price() -> None:
    order = replace(ORDER, max_price_per_hour=Decimal("1E-1"))
    error = refused([product(), product("b", spot_price=Decimal(1))], order)
    assert error.error_code == "price_above_limit"
    assert "costs $0.175 per hour, above the limit of $0.100." in error.message


@pytest.mark.parametrize(
    ("products", "said"),
    [
        ([], "does not offer"),
        ([product(name="RTX 3090 24GB")], "does not offer"),
        ([product(regions=("US-CA-06",))], "does not offer"),
        ([product(max_disk_gb=40), product("b", max_disk_gb=50)], "the largest disk is 50 GB"),
        ([product(stock="none", max_disk_gb=60)], "is sold out"),
        ([product(spot_price=Decimal(0))], "is sold out"),
    ],
)
def test_what_stood_in_the_way_is_said(products: list[Product], said: str) -> None:
    error = refused(products)
    assert error.error_code == "out_of_stock"
    assert said in error.message
    assert "'RTX 4090 24GB' as spot in CN-HK-01" in error.message


def test_a_region_without_a_name_goes_by_its_id() -> None:
    assert Cluster("us-ca-6", "").region == "us-ca-6"


def test_the_price_list_shows_every_product_of_a_region_cheapest_first() -> None:
    products = [
        product("a", name="A100", price=Decimal(2)),
        product("b", name="L40", price=Decimal(1), max_disk_gb=50),
        product("small", name="L40", price=Decimal("0.5"), max_disk_gb=49),
        product("sold out", stock="none"),
    ]
    listed = price_list(
        HONG_KONG, products, billing_mode=BillingMode.ON_DEMAND, gpu_num=2, rootfs_size_gb=50
    )
    assert [(offer.product_id, offer.price_per_hour) for offer in listed] == [
        ("b", Decimal(2)),
        ("a", Decimal(4)),
    ]


@pytest.mark.parametrize("wanted", ["RTX 4090 24GB", "rtx4090 24gb", " RTX  4090\t24GB "])
def test_a_name_is_found_whatever_its_case_and_spaces(wanted: str) -> None:
    names = ["RTX 4090 24GB", "RTX 4090 24GB x", ""]
    assert find_product_name(wanted, names) == "RTX 4090 24GB"


def test_a_part_that_only_one_name_contains_means_that_name() -> None:
    assert find_product_name("3090", ["RTX 4090 24GB", "RTX 3090 24GB"]) == "RTX 3090 24GB"


def test_a_part_of_several_names_lists_them() -> None:
    with pytest.raises(InvalidOrder) as refusal:
        find_product_name("4090", ["RTX 4090 48GB", "RTX 4090 24GB", "L40"])
    assert refusal.value.error_code == "product_not_found"
    assert "several products: 'RTX 4090 24GB', 'RTX 4090 48GB'." in refusal.value.message


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("RTX 4909", "Novita has no product called 'RTX 4909'. Did you mean 'RTX 4090 24GB'?"),
        ("zzz", "Novita has no product called 'zzz'."),
        ("   ", "Novita has no product called '   '."),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(wanted: str, said: str) -> None:
    with pytest.raises(InvalidOrder) as refusal:
        find_product_name(wanted, ["RTX 4090 24GB"])
    assert (refusal.value.error_code, refusal.value.message) == ("product_not_found", said)


prices = st.decimals(min_value=0, max_value=9, places=2)
products_of_any_kind = st.builds(
    product,
    st.text("abc", min_size=1, max_size=3),
    name=st.sampled_from([NAME, "rtx4090 24GB", "RTX 3090 24GB"]),
    price=prices,
    spot_price=prices,
    is_deployable=st.booleans(),
    stock=st.sampled_from(["none", "low", "normal", "high", ""]),
    max_disk_gb=st.integers(40, 80),
    regions=st.sampled_from([(), ("CN-HK-01",), ("US-CA-06",)]),
    billing_modes=st.sampled_from([(), ("spot",), ("onDemand", "spot"), ("monthly",)]),
)


@REPEATABLE
@given(
    st.lists(products_of_any_kind, max_size=8),
    st.sampled_from(BillingMode),
    st.none() | prices,
    st.integers(1, 8),
)
def test_nothing_is_ever_bought_that_was_not_ordered_or_could_be_had_cheaper(
    products: list[Product], mode: BillingMode, limit: Decimal | None, gpu_num: int
) -> None:
    order = replace(ORDER, billing_mode=mode, max_price_per_hour=limit, gpu_num=gpu_num)
    try:
        offers = rank([(HONG_KONG, products)], order, NAME)
    except NothingForSale:
        offers = ()
    assert [o.price_per_hour for o in offers] == sorted(o.price_per_hour for o in offers)
    for offer in offers:
        assert offer.price_per_hour > 0
        assert limit is None or offer.price_per_hour <= limit
        assert offer.product_name.casefold().replace(" ", "") == "rtx409024gb"
        assert (offer.billing_mode, offer.gpu_num, offer.region) == (mode, gpu_num, "CN-HK-01")
        assert offer.stock != "none"


def test_an_offer_is_found_again_at_its_new_price_or_not_at_all() -> None:
    (chosen,) = rank([(HONG_KONG, [product("a")])], ORDER, NAME)
    dearer = product("a", spot_price=Decimal("0.95"))
    found = find_offer([product("b"), dearer], chosen)
    assert found == replace(chosen, price_per_hour=Decimal("0.95"))
    assert find_offer([product("b")], chosen) is None
    assert find_offer([product("a", is_deployable=False)], chosen) is None
    assert find_offer([product("a", spot_price=Decimal(0))], chosen) is None


def test_a_refusal_names_what_was_looked_at() -> None:
    products = [product("sold-out", stock="none"), product("no-spot", spot_price=Decimal(0))]
    assert [each.product_id for each in refused(products).offers] == ["sold-out"]
    dear = replace(ORDER, max_price_per_hour=Decimal("0.1"))
    assert [each.product_id for each in refused([product("dear")], dear).offers] == ["dear"]
