"""How values are written for people, and the sentences that the pages say about statuses."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from markupsafe import Markup, escape

from gpukeeper.domain.costs import describe_rate, dollars_per_hour, whole_dollars_per_hour
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.events import EventType
from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.domain.lifecycle.commands import is_allowed

# What a status means to its owner; the words are the glossary's.
STATUS_MEANS: dict[Status, str] = {
    Status.REQUESTED: "Stored; nothing is bought yet.",
    Status.CREATING: "Novita has accepted the order and is placing the machine.",
    Status.STARTING: "The machine is coming up.",
    Status.RUNNING: "Novita says that it runs.",
    Status.STOPPING: "On its way down.",
    Status.STOPPED: "Down. Its disk is kept for a while; what is above 60 GB of it costs money.",
    Status.DELETING: "To be deleted; Novita has not confirmed that it is gone.",
    Status.DELETED: "Novita confirmed that it is gone. It costs nothing any more.",
    Status.FAILED: "It did not come up.",
    Status.RECLAIMED: "Novita took the spot machine back.",
    Status.LOST: "Gone at Novita, and nobody here asked for that.",
}

# The same while Novita has not answered whether it has sold a machine.
_MEANS_WHILE_OPEN: dict[Status, str] = {
    Status.REQUESTED: "Novita was asked to sell. Until its answer is known, a machine may exist "
    "and cost money.",
    Status.FAILED: "Novita has not answered whether it sold a machine: one may exist and cost "
    "money. It goes on being looked up.",
    Status.DELETING: "To be deleted; it is not known yet whether Novita has sold a machine.",
}

# The colour that a status has, by what it asks of whoever looks: nothing, patience, or a look.
_TONES: dict[str, str] = {
    **dict.fromkeys((Status.REQUESTED, Status.CREATING, Status.STARTING), "coming"),
    Status.RUNNING: "good",
    **dict.fromkeys((Status.STOPPING, Status.DELETING), "going"),
    **dict.fromkeys((Status.STOPPED, Status.DELETED), "rest"),
    **dict.fromkeys((Status.FAILED, Status.LOST), "bad"),
    Status.RECLAIMED: "warn",
    DeliveryStatus.PENDING: "coming",
    DeliveryStatus.DELIVERED: "good",
    DeliveryStatus.EXHAUSTED: "bad",
    DeliveryStatus.ENDED: "rest",
}

# What a verb does to the machine's data and to its bill.
CONSEQUENCES: dict[Command, str] = {
    Command.START: "Its disk is as it was left. From then on it is billed again, at Novita's price "
    "of then. Its addresses and its password change.",
    Command.STOP: "Its processes end. Its disk stays, for up to seven days; what is above 60 GB "
    "of it is billed on. Novita does not keep the GPU for you.",
    Command.RESTART: "Its processes end and start again. Its disk stays. Its addresses and its "
    "password may change.",
    Command.DELETE: "Everything on its disk is lost for good and cannot be brought back. It stops "
    "costing money as soon as Novita confirms that it is gone.",
}

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(span: timedelta) -> str:
    """Return a duration in its two largest units: ``2 h 5 min``, ``41 s``, ``0.4 s``."""
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for length, name in _UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {name}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def age(span: timedelta) -> str:
    """Return a duration in its largest unit: ``3 min``."""
    seconds = max(round(span.total_seconds()), 0)
    length, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return f"{seconds // length} {name}"


def time_left(span: timedelta) -> str:
    """Return how long until something, never more than it is: ``1 h 5 min``, ``22 min``, ``41 s``.

    The script counts down in the same words.
    """
    seconds = max(int(span.total_seconds()), 0)
    minutes, hours = seconds // 60, seconds // 3_600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def whole_seconds(span: timedelta) -> int:
    """Return how many seconds are left, for the script that counts them down."""
    return max(int(span.total_seconds()), 0)


def bare_receiver(receiver: str) -> str:
    """Return a receiver of webhooks without the port that everybody expects."""
    return receiver.removesuffix(":443").removesuffix(":80")


def money(amount: Decimal | float | None, places: int = 2) -> str:
    """Return US dollars: ``$0.17``; a dash where there is none."""
    return "—" if amount is None else f"${amount:,.{places}f}"


def cost(amount: Decimal | None) -> str:
    """Return what something has cost; what is less than a cent is said to be."""
    return "< $0.01" if amount is not None and 0 < amount < Decimal("0.01") else money(amount)


def price(amount: Decimal | None) -> str:
    """Return a price per hour: ``$0.175``; a dash where there is none."""
    return "—" if amount is None else dollars_per_hour(amount)


def rate(amount: Decimal | float) -> str:
    """Return a sum or a mean of prices per hour like a price."""
    return dollars_per_hour(amount)


def moment(at: datetime | None) -> str:
    """Return a time as people read it: ``23 Nov 2026, 05:12:25 UTC``."""
    return "—" if at is None else at.astimezone(UTC).strftime("%-d %b %Y, %H:%M:%S UTC")


def clock(at: datetime, *, seconds: bool = False) -> str:
    """Return the time of day: ``05:12`` or ``05:12:25``."""
    return at.astimezone(UTC).strftime("%H:%M:%S" if seconds else "%H:%M")


def day(at: datetime) -> str:
    """Return the day of a time: ``23 Nov``."""
    return at.astimezone(UTC).strftime("%-d %b")


def machine_time(at: datetime) -> str:
    """Return a time for ``<time datetime>``."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Return a time that the API has written."""
    return datetime.fromisoformat(text)


def is_web_address(url: str) -> bool:
    """Whether an address may become a link."""
    return url.startswith(("https://", "http://"))


def inline(text: str) -> Markup:
    """Return a sentence whose words between backticks are code."""
    parts = text.split("`")
    pairs = zip(parts[::2], [*parts[1::2], ""], strict=False)
    return Markup("").join(
        escape(plain) + (Markup("<code>{}</code>").format(code) if code else "")
        for plain, code in pairs
    )


def pretty(value: Mapping[str, Any]) -> str:
    """Return JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def tone(status: str) -> str:
    """Return the class that colours a status."""
    return _TONES[status]


def is_refused(instance: Instance) -> bool:
    """Whether an order failed with nothing bought, so that it never cost anything."""
    is_failed = instance.status is Status.FAILED
    return is_failed and instance.machine.novita_id is None and not instance.may_be_billed


def meaning(instance: Instance) -> str:
    """Return what an instance's status means to its owner."""
    if instance.purchase.intent is not None:
        return _MEANS_WHILE_OPEN.get(instance.status, STATUS_MEANS[instance.status])
    if is_refused(instance):
        return "The order was refused. Nothing was bought, and it costs nothing."
    return STATUS_MEANS[instance.status]


def verbs_for(instance: Instance) -> list[Command]:
    """Return what may be asked of an instance now and can work."""
    return [verb for verb in Command if is_allowed(instance, verb)]


FILTERS: dict[str, Callable[..., Any]] = {
    "age": age,
    "bare_receiver": bare_receiver,
    "clock": clock,
    "cost": cost,
    "day": day,
    "in_words": describe_rate,
    "duration": duration,
    "inline": inline,
    "machine_time": machine_time,
    "moment": moment,
    "parse_time": parse_time,
    "money": money,
    "pretty": pretty,
    "price": price,
    "rate": rate,
    "time_left": time_left,
    "tone": tone,
    "whole_price": whole_dollars_per_hour,
    "whole_seconds": whole_seconds,
}
GLOBALS: dict[str, Any] = {
    "is_refused": is_refused,
    "meaning": meaning,
    "CONSEQUENCES": CONSEQUENCES,
    "EVENT_TYPES": [event_type.value for event_type in EventType],
    "is_web_address": is_web_address,
    "verbs_for": verbs_for,
}
