"""Every variable that configures the program, with its default and its sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SecretStr
from pydantic.fields import FieldInfo

from gpukeeper.config import parsers
from gpukeeper.webhooks.guard import Allowance

# Variables that may be given as NAME_FILE=/run/secrets/… instead.
SECRETS = frozenset(
    {
        "NOVITA_API_KEY",
        "GPUKEEPER_API_KEYS",
        "GPUKEEPER_DATABASE_URL",
        "GPUKEEPER_SECRET_KEY",
        "GPUKEEPER_WEBHOOK_SECRET",
    }
)

# The database in the data directory when no other is named.
DATABASE_FILE = "gpukeeper.db"


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting as the documentation shows it; ``default`` is empty when it is required."""

    name: str
    default: str
    sentence: str
    is_secret: bool


def _variable(name: str, sentence: str, *, default: Any = ..., shown: str | None = None) -> Any:
    """Declare a setting; ``shown`` is its default in the documentation where that differs."""
    extra: dict[str, Any] = {"shown": _text(default) if shown is None else shown}
    return Field(default, validation_alias=name, description=sentence, json_schema_extra=extra)


def _text(default: Any) -> str:
    if isinstance(default, timedelta):
        return f"{default.total_seconds():g}"
    return "" if default is ... else str(default)


Seconds = Annotated[timedelta, PlainValidator(parsers.seconds())]


class Settings(BaseModel):
    """The whole configuration, checked; its repr shows no secret."""

    # Validators turn text into values; the defaults are values already, which pydantic believes.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    novita_api_key: Annotated[SecretStr, PlainValidator(parsers.token)] = _variable(
        "NOVITA_API_KEY", "The API key of the Novita account that pays for the machines. Required."
    )
    novita_base_url: Annotated[str, PlainValidator(parsers.base_url)] = _variable(
        "NOVITA_BASE_URL",
        "Where Novita's API is; `/gpu-instance/openapi/v1/…` and `/openapi/v1/billing/…` follow.",
        default="https://api.novita.ai",
    )
    host: Annotated[str, PlainValidator(parsers.host)] = _variable(
        "GPUKEEPER_HOST",
        "The address to listen on; one that other machines reach needs GPUKEEPER_API_KEYS.",
        default="127.0.0.1",
    )
    port: Annotated[int, PlainValidator(parsers.whole_number(0, 65535))] = _variable(
        "GPUKEEPER_PORT", "The port to listen on; 0 takes any free one.", default=8080
    )
    api_keys: Annotated[tuple[SecretStr, ...], PlainValidator(parsers.api_keys)] = _variable(
        "GPUKEEPER_API_KEYS",
        "Comma-separated bearer keys of at least 16 characters that callers must send. "
        "Empty is allowed on a loopback host only.",
        default=(),
        shown="empty",
    )
    root_path: Annotated[str, PlainValidator(parsers.root_path)] = _variable(
        "GPUKEEPER_ROOT_PATH",
        "The path under which a proxy serves it, such as `/gpukeeper`; dashboard, redirects and "
        "links follow, whether the proxy takes it off or leaves it on.",
        default="",
        shown="empty",
    )
    data_dir: Annotated[Path, PlainValidator(parsers.directory)] = _variable(
        "GPUKEEPER_DATA_DIR",
        "The directory of the SQLite file, the logs and the generated secrets.",
        default=Path("data"),
        shown="./data",
    )
    database_url: Annotated[SecretStr | None, PlainValidator(parsers.database_url)] = _variable(
        "GPUKEEPER_DATABASE_URL",
        "Where everything is stored: `postgresql://user:password@host/database`, which any "
        "number of replicas may share, or another SQLite file, as `sqlite:///path/to/file`.",
        default=None,
        shown=f"`{DATABASE_FILE}` in the data directory",
    )
    webhook_urls: Annotated[tuple[str, ...], PlainValidator(parsers.webhook_urls)] = _variable(
        "GPUKEEPER_WEBHOOK_URL",
        "The URL that receives every event; more than one, comma-separated.",
        default=(),
        shown="empty",
    )
    webhook_secrets: Annotated[tuple[SecretStr, ...], PlainValidator(parsers.webhook_secrets)] = (
        _variable(
            "GPUKEEPER_WEBHOOK_SECRET",
            "What webhooks are signed with: `whsec_` and the base64 of 24 to 64 bytes; "
            "two, comma-separated, while rotating.",
            default=(),
            shown="generated once, kept in the data directory",
        )
    )
    webhook_retries: Annotated[int, PlainValidator(parsers.whole_number(0, 20))] = _variable(
        "GPUKEEPER_WEBHOOK_RETRIES", "How often a failed delivery is tried again.", default=3
    )
    webhook_backoff: Seconds = _variable(
        "GPUKEEPER_WEBHOOK_BACKOFF",
        "Seconds before the first retry of a delivery, doubled each time, give or take 20 %.",
        default=timedelta(seconds=2),
    )
    webhook_timeout: Seconds = _variable(
        "GPUKEEPER_WEBHOOK_TIMEOUT",
        "Seconds that a receiver has for its answer.",
        default=timedelta(seconds=10),
    )
    webhook_allow: Annotated[Allowance, PlainValidator(Allowance.parse)] = _variable(
        "GPUKEEPER_WEBHOOK_ALLOW",
        "Comma-separated hosts and networks that a caller's `webhookUrl` may name although they "
        "are not public.",
        default=Allowance(),
        shown="empty",
    )
    region: Annotated[str, PlainValidator(parsers.region)] = _variable(
        "GPUKEEPER_REGION",
        "Where machines are bought unless an order says otherwise: a region's name as Novita "
        "shows it, or its cluster id.",
        default="CN-HK-01",
    )
    poll_interval: Seconds = _variable(
        "GPUKEEPER_POLL_INTERVAL",
        "Seconds between looks at Novita while anything is starting.",
        default=timedelta(seconds=30),
    )
    startup_timeout: Seconds = _variable(
        "GPUKEEPER_STARTUP_TIMEOUT",
        "Seconds from creation to `running`, after which starting has failed.",
        default=timedelta(seconds=600),
    )
    sweep_interval: Annotated[
        timedelta, PlainValidator(parsers.seconds(zero="switches it off"))
    ] = _variable(
        "GPUKEEPER_SWEEP_INTERVAL",
        "Seconds between looks at the settled fleet; 0 switches it off.",
        default=timedelta(seconds=60),
    )
    adoption_window: Seconds = _variable(
        "GPUKEEPER_ADOPTION_WINDOW",
        "Seconds for which a lost answer to a purchase is looked up before buying again.",
        default=timedelta(seconds=90),
    )
    retention: Annotated[timedelta, PlainValidator(parsers.days(zero="keeps everything"))] = (
        _variable(
            "GPUKEEPER_RETENTION",
            "Days for which events, deliveries and attempts are kept; the history of a machine "
            "until it has been gone for as long. 0 keeps everything.",
            default=timedelta(days=90),
            shown="90",
        )
    )
    secret_key: Annotated[SecretStr | None, PlainValidator(parsers.secret_key)] = _variable(
        "GPUKEEPER_SECRET_KEY",
        "What stored environment values are encrypted and dashboard cookies signed with: "
        "32 bytes in URL-safe base64.",
        default=None,
        shown="generated once, kept in the data directory",
    )
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], PlainValidator(parsers.networks)
    ] = _variable(
        "GPUKEEPER_TRUSTED_PROXIES",
        "Comma-separated addresses and networks of the proxies in front, whose "
        "`X-Forwarded-For` or `Forwarded` is believed.",
        default=(),
        shown="empty",
    )
    keep_alive: Annotated[int, PlainValidator(parsers.whole_number(0, 3600))] = _variable(
        "GPUKEEPER_KEEP_ALIVE",
        "Seconds after which an idle connection of a client is closed; more than the proxy in "
        "front keeps its own.",
        default=75,
    )
    novita_timeout: Seconds = _variable(
        "GPUKEEPER_NOVITA_TIMEOUT",
        "Seconds that Novita has for its answer.",
        default=timedelta(seconds=30),
    )
    novita_retries: Annotated[int, PlainValidator(parsers.whole_number(0, 20))] = _variable(
        "GPUKEEPER_NOVITA_RETRIES", "How often a failed read from Novita is repeated.", default=3
    )
    novita_rate: Annotated[float, PlainValidator(parsers.rate)] = _variable(
        "GPUKEEPER_NOVITA_RATE", "Calls to Novita per second at most.", default=10.0, shown="10"
    )
    log_level: Annotated[
        str, PlainValidator(parsers.one_of("debug", "info", "warning", "error"))
    ] = _variable(
        "GPUKEEPER_LOG_LEVEL",
        "The least important messages that are logged: debug, info, warning or error.",
        default="info",
    )
    log_format: Annotated[str | None, PlainValidator(parsers.one_of("console", "json"))] = (
        _variable(
            "GPUKEEPER_LOG_FORMAT",
            "How messages look on stdout: console or json. The file in `logs/` is always JSON.",
            default=None,
            shown="console on a terminal, else json",
        )
    )

    # The standard variables of OpenTelemetry, if they ask for traces; some hold credentials.
    otel: Mapping[str, str] = Field(default={}, repr=False)

    @property
    def database_path(self) -> Path:
        """The SQLite file; there is none when a PostgreSQL database is named."""
        if self.database_url is None:
            return self.data_dir / DATABASE_FILE
        return parsers.sqlite_path(self.database_url)

    @property
    def postgres_url(self) -> SecretStr | None:
        """The URL of the PostgreSQL database, if one is named."""
        is_named = self.database_url is not None and parsers.is_postgres(self.database_url)
        return self.database_url if is_named else None

    @property
    def database_name(self) -> str:
        """What may be shown of the database: a file, or a host and a name without password."""
        url = self.postgres_url
        return str(self.database_path) if url is None else parsers.shown_postgres(url)

    @property
    def log_dir(self) -> Path:
        """The directory of the log files."""
        return self.data_dir / "logs"


def variables() -> tuple[Variable, ...]:
    """Return every setting in the order of the documentation."""
    fields = Settings.model_fields.values()
    return tuple(_described(field) for field in fields if field.validation_alias)


def _described(field: FieldInfo) -> Variable:
    name, extra = str(field.validation_alias), field.json_schema_extra
    shown = str(extra["shown"]) if isinstance(extra, dict) else ""
    return Variable(name, shown, field.description or "", is_secret=name in SECRETS)
