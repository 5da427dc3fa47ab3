"""One of each noun, as tests of the API show them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gpukeeper.contract.events import describe_change
from gpukeeper.contract.instances import CostPerHour
from gpukeeper.contract.orphans import Orphan
from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from gpukeeper.domain.events import Change, Event, EventType
from gpukeeper.domain.instances import Attempt, DesiredState, Order, Reason, Status
from gpukeeper.domain.machines import Endpoint
from gpukeeper.domain.products import BillingMode, Offer
from tests.instances import build, edit

NOW = datetime(2026, 11, 23, 5, 12, 25, 123456, UTC)

ORDER = Order("trainer", "RTX 4090 24GB", "tpl-basic", region="CN-HK-01", labels={"team": "a"})

RUNNING = build(
    id="ins_1",
    novita_name="trainer-gkabcd12345678",
    order=ORDER,
    status=Status.RUNNING,
    desired_state=DesiredState.RUNNING,
    created_at=NOW - timedelta(minutes=3),
    deadline_at=NOW + timedelta(minutes=7),
    novita_id="37d312386c80a3b9",
    product_id="4090.16c62g",
    product_name="RTX 4090 24GB",
    cluster_id="cn-hongkong-1",
    region="CN-HK-01",
    image_url="docker.io/acme/worker:1.4",
    price_per_hour=Decimal("0.17500"),
    endpoints=(Endpoint(8000, "http", "https://37d312386c80a3b9-8000.example"),),
    ssh_command="ssh -p 62132 root@proxy.example",
    attempts=(Attempt("4090.16c62g", "CN-HK-01", Decimal("0.175"), "accepted", None, NOW),),
    accepted_at=NOW - timedelta(minutes=3),
    started_at=NOW - timedelta(minutes=3),
    running_at=NOW - timedelta(minutes=1),
    novita_status="running",
    observed_at=NOW,
)

FAILED = edit(
    RUNNING,
    id="ins_2",
    status=Status.FAILED,
    novita_id=None,
    novita_status=None,
    running_at=None,
    started_at=None,
    accepted_at=None,
    observed_at=None,
    endpoints=(),
    ssh_command=None,
    image_url=None,
    reason=Reason("out_of_stock", "Novita has none left."),
    attempts=(
        Attempt("4090.16c62g", "CN-HK-01", Decimal("0.175"), "out_of_stock", "none left", NOW),
    ),
)

EVENT = Event("evt_1", EventType.RUNNING, "ins_1", NOW, describe_change(Change(None, RUNNING, NOW)))

DELIVERY = Delivery(
    id="dlv_1",
    event=EVENT,
    url="https://hooks.example/gpu",
    is_trusted=True,
    lane="https://hooks.example/gpu ins_1",
    status=DeliveryStatus.EXHAUSTED,
    created_at=NOW,
    due_at=None,
    finished_at=NOW,
    attempts=2,
)

ATTEMPTS = (
    DeliveryAttempt(1, NOW, timedelta(milliseconds=12.6), 500, None, "oh no"),
    DeliveryAttempt(2, NOW, timedelta(seconds=10), None, "timed out", ""),
)

ORPHAN = Orphan(
    novita_id="0123456789abcdef",
    name="old-gkabcd87654321",
    novita_status="running",
    product_name="RTX 4090 24GB",
    region="CN-HK-01",
    price_per_hour=Decimal("0.175"),
    cost_per_hour=CostPerHour(Decimal("0.175"), Decimal(0)),
    created_at=None,
    first_seen_at=NOW,
    last_seen_at=NOW,
)

OFFER = Offer(
    product_id="4090.16c62g",
    product_name="RTX 4090 24GB",
    cluster_id="cn-hongkong-1",
    region="CN-HK-01",
    billing_mode=BillingMode.SPOT,
    gpu_num=1,
    price_per_hour=Decimal("0.175"),
    stock="high",
    max_disk_gb=1024,
)
