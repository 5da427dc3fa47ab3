"""The command ``up``: its options, and the order that they make."""

import os
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from gpukeeper.cli import order_dialogue
from gpukeeper.cli.service_access import get_access, open_client
from gpukeeper.cli.terminal.instance_tables import show_row
from gpukeeper.cli.terminal.output import Format, Output, note
from gpukeeper.cli.terminal.prompts import Faults, has_person, raise_faults
from gpukeeper.cli.terminal.wait_progress import wait_and_show
from gpukeeper.client.api_client import DEFAULT_WAIT
from gpukeeper.domain.instances import OnFailure, Status
from gpukeeper.domain.products import BillingMode
from gpukeeper.text_encoding import decode

# After its start-up timeout an instance is `failed` at the next look, half a minute later at most.
_ROOM_FOR_LAST_LOOK_SECONDS = 60


def up(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="1 to 48 letters, digits and '-'.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="The product's name, as 'offers' shows it.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="The id of the Novita template.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs, 1 to 8; 1 unless given.")] = None,
    disk: Annotated[
        int | None, typer.Option(help="Disk in GB, 10 to 6144; 60 unless given.")
    ] = None,
    billing: Annotated[
        BillingMode | None,
        typer.Option(case_sensitive=False, metavar="spot|onDemand", help="spot unless given."),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION", help="Repeat it to name further regions to try."),
    ] = None,
    max_price: Annotated[
        str | None, typer.Option(metavar="USD", help="Most per hour, all GPUs together.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Repeatable; KEY alone takes this shell's value."),
    ] = None,
    env_file: Annotated[
        Path | None, typer.Option(help="A file of KEY=VALUE lines; --env is laid over it.")
    ] = None,
    port: Annotated[
        list[str] | None, typer.Option(metavar="PORT/TYPE", help="8000/http or 22/tcp; repeatable.")
    ] = None,
    command: Annotated[str | None, typer.Option(help="Start command, not the template's.")] = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Also tell this URL what happens to this instance.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    startup_timeout: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="Failed if not running by then; 10 to 86400."),
    ] = None,
    on_failure: Annotated[
        OnFailure | None, typer.Option(help="What becomes of a machine that did not come up.")
    ] = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Wait until it is running, or do not."),
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Longest wait; implies --wait.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeated with the same key, an order is bought once.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Order an instance at the lowest price, and start it.

    NAME, --product and --template are needed; on a terminal, what is missing is asked for, and
    the order is waited for unless --no-wait says otherwise.
    """
    faults: Faults = []
    if not has_person():
        faults += _find_missing(name, product, template)
    faults += _find_faults(name, gpus, disk, startup_timeout)
    limit = _parse_dollars(max_price, faults)
    envs = _read_envs(env_file, env or [], faults)
    labels = _parse_pairs(label, "--label", faults) if label else None
    raise_faults(faults)
    with open_client(ctx) as client:
        is_asked = name is None or product is None or template is None
        if name is None or product is None or template is None:
            answers = order_dialogue.ask_for_order(
                client,
                name=name,
                product=product,
                template=template,
                region=region[0] if region else None,
                billing=billing,
                gpus=gpus,
                disk=disk,
            )
            name, product, template = answers.name, answers.product, answers.template
            region = region or ([answers.region] if answers.region else None)
            # The agreed price is not exceeded, if that offer is gone by now.
            limit = limit or answers.price_per_hour
        if sys.stderr.isatty():
            # It may take 20 seconds, in which nothing else would be seen.
            note("Waiting until Novita has accepted the order…")
        try:
            ordered = client.order(
                name,
                product_name=product,
                template_id=template,
                gpu_num=gpus,
                rootfs_size_gb=disk,
                billing_mode=billing,
                region=region[0] if region else None,
                regions=region[1:] if region and len(region) > 1 else None,
                max_price_per_hour=limit,
                envs=envs,
                ports=port or None,
                command=command,
                webhook_url=webhook_url,
                labels=labels,
                startup_timeout=timedelta(seconds=startup_timeout) if startup_timeout else None,
                on_failure=on_failure,
                idempotency_key=idempotency_key,
                sleep=get_access(ctx).sleep,
            )
        except KeyboardInterrupt:
            note(f"The order may have been taken: 'gpukeeper ls --name {name}' tells.")
            raise
        is_waited_for = is_asked if wait is None else wait
        if not is_waited_for and timeout is None:
            show_row(ctx, ordered, output)
            if has_person():
                note(f"Next: 'gpukeeper wait {name}' waits until it runs.")
            return
        note(f"Ordered {ordered.id}.")
        seconds = timeout or _longest_wait(startup_timeout)
        wait_and_show(ctx, client, ordered.id, until=Status.RUNNING, seconds=seconds, output=output)
        if has_person():
            note(f"Next: 'gpukeeper ssh {name}' tells the way in, 'gpukeeper rm {name}' ends it.")


def _find_missing(name: str | None, product: str | None, template: str | None) -> Faults:
    needed = (("NAME", name), ("--product", product), ("--template", template))
    missing = [each for each, value in needed if value is None]
    return [(", ".join(missing), "Needed, and not given.")] if missing else []


def _find_faults(
    name: str | None, gpus: int | None, disk: int | None, startup_timeout: int | None
) -> Iterator[tuple[str, str]]:
    """Yield faults that the service would refuse as well, one at a time."""
    if name is not None and not order_dialogue.NAME.fullmatch(name):
        yield "NAME", order_dialogue.NAME_RULE
    bounds = (
        ("--gpus", gpus, 1, 8),
        ("--disk", disk, 10, 6144),
        ("--startup-timeout", startup_timeout, 10, 86400),
    )
    for option, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            yield option, f"{value} is not in the range {least} to {most}."


def _parse_dollars(text: str | None, faults: Faults) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        faults.append(("--max-price", f"'{text}' is not an amount of dollars."))
        return None
    if not amount.is_finite() or amount <= 0:
        faults.append(("--max-price", "The price must be above 0."))
        return None
    return amount


def _longest_wait(startup_timeout: int | None) -> int:
    longest = (startup_timeout or 0) + _ROOM_FOR_LAST_LOOK_SECONDS
    return max(int(DEFAULT_WAIT.total_seconds()), longest)


def _read_envs(path: Path | None, given: list[str], faults: Faults) -> dict[str, str] | None:
    if path is None and not given:
        return None
    lines: list[str] = []
    try:
        lines = decode(path.read_bytes()).splitlines() if path else []
    except OSError:
        faults.append(("--env-file", f"'{path}' cannot be read."))
    except ValueError as error:
        faults.append(("--env-file", f"'{path}' cannot be read: {error}."))
    stripped = (line.strip() for line in lines)
    from_file = [line for line in stripped if line and not line.startswith("#")]
    envs = _parse_pairs((line.removeprefix("export ") for line in from_file), "--env-file", faults)
    from_shell = [_add_shell_value(text, faults) for text in given]
    return {key: _unquote(value) for key, value in envs.items()} | _parse_pairs(
        filter(None, from_shell), "--env", faults
    )


def _parse_pairs(texts: Iterable[str], option: str, faults: Faults) -> dict[str, str]:
    """Split KEY=VALUE texts; a fault never shows the value, which may be a secret."""
    pairs = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            faults.append((option, "Write it as KEY=VALUE."))
        pairs[key.strip()] = value
    return pairs


def _add_shell_value(text: str, faults: Faults) -> str | None:
    if "=" in text:
        return text
    if text not in os.environ:
        faults.append(("--env", f"'{text}' is not set in this shell."))
        return None
    return f"{text}={os.environ[text]}"


def _unquote(value: str) -> str:
    value = value.strip()
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value
