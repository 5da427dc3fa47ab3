"""The command ``up``: its options, and the order that they make."""

import os
import sys
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from gpukeeper.cli import asking, waiting
from gpukeeper.cli.access import access_of, open_client
from gpukeeper.cli.instance_tables import as_table
from gpukeeper.cli.output import Format, Output, note, show
from gpukeeper.client.client import DEFAULT_WAIT
from gpukeeper.domain.instance import OnFailure, Status
from gpukeeper.domain.market import BillingMode
from gpukeeper.texts import decode

# After its start-up timeout an instance is `failed` at the next look, half a minute later at most.
_ROOM_FOR_LAST_LOOK = timedelta(minutes=1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"'{text}' is not an amount of dollars.") from error
    if not amount.is_finite() or amount <= 0:
        raise typer.BadParameter("The price must be above 0.")
    return amount


def up(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="1 to 48 letters, digits and '-'.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="The product's name, as 'offers' shows it.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="The id of the Novita template.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, max=8, help="GPUs; 1 unless given.")] = None,
    disk: Annotated[
        int | None, typer.Option(min=10, max=6144, help="Disk in GB; 60 unless given.")
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
        Decimal | None,
        typer.Option(parser=_dollars, metavar="USD", help="Most per hour, all GPUs together."),
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
        int | None, typer.Option(min=1, metavar="SECONDS", help="Failed if not running by then.")
    ] = None,
    on_failure: Annotated[
        OnFailure | None, typer.Option(help="What becomes of a machine that did not come up.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is running.")] = False,
    timeout: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Longest wait; implies --wait.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeated with the same key, an order is bought once.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Order an instance at the lowest price, and start it.

    NAME, --product and --template are needed; on a terminal, what is missing is asked for.
    """
    envs = _envs(env_file, env or [])
    labels = _pairs(label, "--label") if label else None
    if not asking.is_possible():
        _require(name, product, template)
    with open_client(ctx) as client:
        if name is None or product is None or template is None:
            answers = asking.ask(
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
            # What was agreed to is not exceeded, if that offer is gone by now.
            max_price = max_price or answers.price_per_hour
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
                max_price_per_hour=max_price,
                envs=envs,
                ports=port or None,
                command=command,
                webhook_url=webhook_url,
                labels=labels,
                startup_timeout=timedelta(seconds=startup_timeout) if startup_timeout else None,
                on_failure=on_failure,
                idempotency_key=idempotency_key,
                sleep=access_of(ctx).sleep,
            )
        except KeyboardInterrupt:
            note(f"The order may have been taken: 'gpukeeper ls --name {name}' tells.")
            raise
        if not wait and timeout is None:
            show(output, ordered.raw, lambda: as_table([ordered]))
            return
        note(f"Ordered {ordered.id}.")
        waiting.wait_and_show(
            ctx,
            client,
            ordered.id,
            until=Status.RUNNING,
            timeout=_patience(timeout, startup_timeout),
            output=output,
        )


def _require(name: str | None, product: str | None, template: str | None) -> None:
    needed = (("NAME", name), ("--product", product), ("--template", template))
    missing = [each for each, value in needed if value is None]
    if missing:
        raise typer.BadParameter("Needed, and not given.", param_hint=", ".join(missing))


def _patience(timeout: int | None, startup_timeout: int | None) -> timedelta:
    if timeout is not None:
        return timedelta(seconds=timeout)
    return max(DEFAULT_WAIT, timedelta(seconds=startup_timeout or 0) + _ROOM_FOR_LAST_LOOK)


def _envs(path: Path | None, given: list[str]) -> dict[str, str] | None:
    if path is None and not given:
        return None
    try:
        lines = decode(path.read_bytes()).splitlines() if path else []
    except OSError as error:
        raise typer.BadParameter(f"'{path}' cannot be read.", param_hint="--env-file") from error
    except ValueError as error:
        raise typer.BadParameter(
            f"'{path}' cannot be read: {error}.", param_hint="--env-file"
        ) from error
    stripped = (line.strip() for line in lines)
    from_file = [line for line in stripped if line and not line.startswith("#")]
    envs = _pairs((line.removeprefix("export ") for line in from_file), "--env-file")
    return {key: _unquoted(value) for key, value in envs.items()} | _pairs(
        (_from_shell(text) for text in given), "--env"
    )


def _pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """Split KEY=VALUE texts; a fault never shows the value, which may be a secret."""
    pairs = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise typer.BadParameter("Write it as KEY=VALUE.", param_hint=option)
        pairs[key.strip()] = value
    return pairs


def _from_shell(text: str) -> str:
    if "=" in text:
        return text
    if text not in os.environ:
        raise typer.BadParameter(f"'{text}' is not set in this shell.", param_hint="--env")
    return f"{text}={os.environ[text]}"


def _unquoted(value: str) -> str:
    value = value.strip()
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value
