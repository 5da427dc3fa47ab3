"""The client: one method for each thing that the service can be asked."""

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx2

from gpukeeper.client import events, http_requests, name_lookup, poll
from gpukeeper.client.arguments import (
    Dollars,
    Duration,
    build_order,
    check_header,
    check_seconds,
    check_texts,
)
from gpukeeper.client.events import EventInfo
from gpukeeper.client.http_requests import Result, quote_segment
from gpukeeper.client.page import Page, page_reader
from gpukeeper.client.problems import InvalidArgument, NotRunning
from gpukeeper.contract.deliveries import Delivery
from gpukeeper.contract.health import Health
from gpukeeper.contract.instances import Connection, Instance
from gpukeeper.contract.offers import Offer, Region, Template
from gpukeeper.contract.orphans import Orphan
from gpukeeper.contract.serialization import Json
from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instances import Status

# The service itself waits up to 20 s for Novita before it answers an order.
DEFAULT_TIMEOUT_SECONDS = 30.0

# A start-up ends after 10 minutes unless the order says otherwise; this leaves room for it.
DEFAULT_WAIT = timedelta(minutes=15)

_INSTANCES = "/api/instances"
_DELIVERIES = "/api/deliveries"
_ORPHANS = "/api/orphans"


class Client:
    """A connection to one gpukeeper service, usable from one thread at a time.

    ``base_url`` is the service's address, ``api_key`` one of its keys.  Every method raises
    :class:`~gpukeeper.client.ApiProblem` with what the service said, or
    :class:`~gpukeeper.client.ServiceUnreachable`.  Use it as a context manager, or close it.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = http_requests.open_http(
            base_url,
            api_key,
            timeout_seconds=check_seconds("timeout_seconds", timeout_seconds),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def order(
        self,
        name: str,
        *,
        product_name: str,
        template_id: str,
        gpu_num: int | None = None,
        rootfs_size_gb: int | None = None,
        billing_mode: str | None = None,
        region: str | None = None,
        regions: Sequence[str] | None = None,
        max_price_per_hour: Dollars | None = None,
        envs: Mapping[str, str] | None = None,
        ports: Sequence[str] | None = None,
        command: str | None = None,
        webhook_url: str | None = None,
        labels: Mapping[str, str] | None = None,
        startup_timeout: Duration | None = None,
        on_failure: str | None = None,
        idempotency_key: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Instance:
        """Order an instance and return it, bought (``novita_id`` set) or still being bought.

        What is None is left to the service; ``ports`` are written ``8000/http``.  When the answer
        is lost the order is sent again, up to three times, under the same idempotency key, so it
        buys one machine at most.  To repeat a whole call safely, pass a key of your own.
        """
        given = build_order(
            name=name,
            product_name=product_name,
            template_id=template_id,
            gpu_num=gpu_num,
            rootfs_size_gb=rootfs_size_gb,
            billing_mode=billing_mode,
            region=region,
            regions=regions,
            max_price_per_hour=max_price_per_hour,
            envs=envs,
            ports=ports,
            command=command,
            webhook_url=webhook_url,
            labels=labels,
            startup_timeout=startup_timeout,
            on_failure=on_failure,
        )
        return http_requests.request_with_retries(
            self._http,
            Instance.read,
            "POST",
            _INSTANCES,
            json=given,
            idempotency_key=check_header("idempotency_key", idempotency_key or uuid.uuid4().hex),
            sleep=sleep,
        )

    def instances(
        self,
        *,
        status: str | Collection[str] | None = None,
        is_current: bool = False,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Instance]:
        """Return instances, newest first.

        ``status`` is one or several, and ``name`` matches any part of the name; ``is_current``
        leaves out what has ended: deleted, lost, or refused with nothing bought.
        """
        params = {
            "status": None if status is None else check_texts("status", status) or None,
            "current": "true" if is_current else None,
            "name": name,
            "limit": limit,
            "cursor": cursor,
        }
        read = page_reader("instances", Instance)
        return self._ask(read, "GET", _INSTANCES, params=params)

    def instance(self, instance_id: str, *, refresh: bool = False) -> Instance:
        """Return an instance by our id or Novita's; ``refresh`` has Novita asked first."""
        return self._ask(
            Instance.read,
            "GET",
            f"{_INSTANCES}/{quote_segment(instance_id)}",
            params={"refresh": "true" if refresh else None},
        )

    def find(self, name: str) -> Instance:
        """Return the one instance of this name, or of this id, that is not deleted.

        Of several the one that has a machine is meant, or else the one that did not fail.  Raises
        :class:`~gpukeeper.client.AmbiguousName`, and ApiProblem where there is none.
        """
        return self.instance(self.find_id(name))

    def find_id(self, name: str) -> str:
        """Return the id of the instance that :meth:`find` finds, else what was given."""
        quote_segment(name)

        def ask(part: str | None, cursor: str | None) -> Page[Instance]:
            return self.instances(name=part, limit=name_lookup.LARGEST_PAGE, cursor=cursor)

        return name_lookup.find_id(ask, name)

    def events(self, instance_id: str) -> Page[EventInfo]:
        """Return an instance's history, oldest first."""
        read = page_reader("events", EventInfo)
        return self._ask(read, "GET", f"{_INSTANCES}/{quote_segment(instance_id)}/events")

    def follow(
        self,
        *,
        instance_ids: Collection[str] = (),
        types: Collection[str] = (),
        last_event_id: str | None = None,
        on_trouble: Callable[[GpuKeeperError], None] = lambda error: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[EventInfo]:
        """Return every event from now on, or after ``last_event_id``, as it comes; never ends.

        ``last_event_id`` is the ``position`` of an event that came earlier.  A connection that
        breaks is told to ``on_trouble`` and made again where it was, so nothing is missed and
        nothing comes twice.  The first connection is made before this returns.
        """
        return events.follow_events(
            self._http,
            params={
                "instanceId": check_texts("instance_ids", instance_ids),
                "type": check_texts("types", types),
            },
            last_event_id=None
            if last_event_id is None
            else check_header("last_event_id", last_event_id),
            on_trouble=on_trouble,
            sleep=sleep,
        )

    def connection(self, instance_id: str) -> Connection:
        """Return how a running machine is reached, with its password."""
        path = f"{_INSTANCES}/{quote_segment(instance_id)}/connection"
        return self._ask(Connection.read, "GET", path)

    def start(self, instance_id: str) -> Instance:
        """Have an instance started; it is `starting` in the answer."""
        return self._change(instance_id, "start")

    def stop(self, instance_id: str) -> Instance:
        """Have an instance stopped; it is `stopping` in the answer."""
        return self._change(instance_id, "stop")

    def restart(self, instance_id: str) -> Instance:
        """Have a running instance restarted; it is `starting` in the answer."""
        return self._change(instance_id, "restart")

    def delete(self, instance_id: str) -> Instance:
        """Have an instance deleted; it is `deleted` once Novita confirms.  Idempotent."""
        path = f"{_INSTANCES}/{quote_segment(instance_id)}"
        return self._ask(Instance.read, "DELETE", path)

    def wait(
        self,
        instance_id: str,
        *,
        until: str | Collection[str] = Status.RUNNING,
        timeout: Duration = DEFAULT_WAIT,
        on_change: Callable[[Instance], None] = lambda instance: None,
        on_trouble: Callable[[GpuKeeperError], None] = lambda error: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Instance:
        """Return the instance once its status is one of ``until``, or one that it will not leave.

        So look at the status of what is returned: waiting for `running` also ends at `failed`.
        ``timeout`` is a timedelta or a number of seconds.  A machine that has just come up is
        looked at until its SSH command is known too, for five seconds at most.
        ``on_change`` is told of the first look and of every change, ``on_trouble`` of looks that
        failed and are repeated.  ``clock`` tells seconds from any beginning.  Raises
        :class:`~gpukeeper.client.WaitTimedOut`, and gives up after a minute without an answer.
        """
        return poll.poll_until(
            lambda: self.instance(instance_id),
            until=_statuses(until),
            timeout=timedelta(seconds=check_seconds("timeout", timeout)),
            on_change=on_change,
            on_trouble=on_trouble,
            clock=clock,
            sleep=sleep,
        )

    def wait_until_running(self, instance_id: str, *, timeout: Duration = DEFAULT_WAIT) -> Instance:
        """Return the instance once it is running.

        Raises :class:`~gpukeeper.client.NotRunning` when it will not be,
        :class:`~gpukeeper.client.WaitTimedOut`, and what :meth:`wait` raises.
        """
        instance = self.wait(instance_id, timeout=timeout)
        if instance.status != Status.RUNNING:
            raise NotRunning(instance)
        return instance

    def offers(
        self,
        *,
        product_name: str | None = None,
        region: str | None = None,
        billing_mode: str | None = None,
        gpu_num: int | None = None,
        rootfs_size_gb: int | None = None,
    ) -> Page[Offer]:
        """Return what is for sale with such a disk (60 GB if None), cheapest first."""
        params = {
            "productName": product_name,
            "region": region,
            "billingMode": billing_mode,
            "gpuNum": gpu_num,
            "rootfsSize": rootfs_size_gb,
        }
        read = page_reader("offers", Offer)
        return self._ask(read, "GET", "/api/offers", params=params)

    def templates(self) -> Page[Template]:
        """Return the templates that an order can name: the account's own, then Novita's."""
        read = page_reader("templates", Template)
        return self._ask(read, "GET", "/api/templates")

    def regions(self) -> Page[Region]:
        """Return the regions that an order can name."""
        return self._ask(page_reader("regions", Region), "GET", "/api/regions")

    def deliveries(
        self,
        *,
        status: str | None = None,
        instance_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """Return webhook deliveries, newest first, without their attempts."""
        params = {"status": status, "instanceId": instance_id, "limit": limit, "cursor": cursor}
        read = page_reader("deliveries", Delivery)
        return self._ask(read, "GET", _DELIVERIES, params=params)

    def delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery with its attempts."""
        return self._ask(Delivery.read, "GET", f"{_DELIVERIES}/{quote_segment(delivery_id)}")

    def redeliver(self, delivery_id: str) -> Delivery:
        """Have a delivery made again, with a fresh set of retries."""
        path = f"{_DELIVERIES}/{quote_segment(delivery_id)}/redeliver"
        return self._ask(Delivery.read, "POST", path)

    def send_test(self) -> Page[Delivery]:
        """Have a `webhook.test` event sent to every URL of the operator's."""
        read = page_reader("deliveries", Delivery)
        return self._ask(read, "POST", "/api/webhooks/test")

    def orphans(self) -> Page[Orphan]:
        """Return the machines at Novita that may be ours and that the store does not know."""
        return self._ask(page_reader("orphans", Orphan), "GET", _ORPHANS)

    def adopt(self, novita_id: str, *, foreign: bool = False) -> Instance:
        """Have an orphan taken in as an instance; ``foreign``: or any machine of the account."""
        path = f"{_ORPHANS}/{quote_segment(novita_id)}/adopt" + ("?foreign=true" if foreign else "")
        return self._ask(Instance.read, "POST", path)

    def delete_orphan(self, novita_id: str) -> Instance:
        """Have an orphan deleted at Novita: it is taken in, and is `deleted` when it is gone."""
        path = f"{_ORPHANS}/{quote_segment(novita_id)}"
        return self._ask(Instance.read, "DELETE", path)

    def is_alive(self) -> bool:
        """Return whether the service's process answers."""
        return http_requests.send(self._http, "GET", "/health/live").is_success

    def health(self) -> Health:
        """Return the service's summary of itself; not being ready is an answer, not an error."""
        return http_requests.request_health(self._http, "/health")

    def readiness(self) -> Health:
        """Return whether the service can serve and its loops are alive."""
        return http_requests.request_health(self._http, "/health/ready")

    def metrics(self) -> str:
        """Return the service's metrics as Prometheus text."""
        return http_requests.request_text(self._http, "/metrics")

    def _change(self, instance_id: str, verb: str) -> Instance:
        path = f"{_INSTANCES}/{quote_segment(instance_id)}/{verb}"
        return self._ask(Instance.read, "POST", path)

    def _ask(self, read: Callable[[Json], Result], method: str, path: str, **sent: Any) -> Result:
        return http_requests.request(self._http, read, method, path, **sent)


def _statuses(until: str | Collection[str]) -> frozenset[str]:
    """Return the statuses to wait for; a word that is none would be waited for in vain."""
    words = check_texts("until", until)
    known = set(Status)
    if not words or not known.issuperset(words):
        raise InvalidArgument(
            f"until is {until!r}: it must be one or several of {', '.join(Status)}."
        )
    return frozenset(words)
