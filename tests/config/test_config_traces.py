"""Which standard variables of OpenTelemetry switch traces on, and which are refused."""

from pathlib import Path

import pytest

from gpukeeper.config import load, variables
from gpukeeper.domain.errors import InvalidConfiguration

KEY = {"NOVITA_API_KEY": "test-key"}
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "wish",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, other = c d,"},
    ],
)
def test_an_endpoint_or_an_exporter_is_a_wish(wish: dict[str, str]) -> None:
    assert load(KEY | wish, env_file=None).otel == {
        name: text.strip() for name, text in wish.items()
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"OTEL_SERVICE_NAME": "gpus", "OTEL_TRACES_SAMPLER": "always_on"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_TRACES_EXPORTER": ""},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
        # What is not done cannot be done wrongly.
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "x"},
    ],
)
def test_without_a_wish_traces_are_off(given: dict[str, str]) -> None:
    assert load(KEY | given, env_file=None).otel == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "canary", "is neither otlp nor none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "canary:4317", "is no URL that begins with http"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[canary", "is no URL that begins"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://canary@collector", "has more than a host and"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector?key=canary", "has more than a host and"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "is not http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "is not http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,canary", "is no comma-separated list"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b;canary", "is no comma-separated list"),
        ("OTEL_BSP_SCHEDULE_DELAY", "canary", "is no whole number above 0"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0", "is no whole number above 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "is no whole number above 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "is no whole number above 0"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "canary", "is no whole number"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1", "is no whole number"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none.pem", "names /none.pem, which cannot be read"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/", "names /, which cannot be read"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "canary", "is not understood here"),
        ("REQUESTS_CA_BUNDLE", "/none.pem", "names /none.pem, which cannot be read (No such"),
        ("CURL_CA_BUNDLE", "/dev/null", "names /dev/null, which holds no certificates in PEM"),
    ],
)
def test_what_cannot_be_done_is_refused_and_its_value_not_shown(
    name: str, text: str, message: str
) -> None:
    with pytest.raises(InvalidConfiguration) as refusal:
        load(KEY | ENDPOINT | {name: text}, env_file=None)

    (fault,) = refusal.value.faults
    assert fault.field == name
    assert message in fault.message
    assert "canary" not in str(refusal.value)


def test_they_are_reported_together_with_every_other_fault() -> None:
    with pytest.raises(InvalidConfiguration) as refusal:
        load({"OTEL_TRACES_EXPORTER": "zipkin"}, env_file=None)

    fields = {fault.field for fault in refusal.value.faults}
    assert fields == {"OTEL_TRACES_EXPORTER", "NOVITA_API_KEY"}


def test_they_may_stand_in_the_file_and_are_no_settings_of_ours(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("NOVITA_API_KEY=k\nOTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318\n")

    settings = load({"OTEL_EXPORTER_OTLP_HEADERS": "api-key=canary"}, env_file=file)

    assert settings.otel == {**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=canary"}
    assert "canary" not in repr(settings)
    assert not any(variable.name.startswith("OTEL") for variable in variables())


def test_a_batch_that_does_not_fit_into_the_queue_is_refused() -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load(KEY | ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, env_file=None)

    (fault,) = caught.value.faults
    assert fault.field == "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
    assert fault.message == "is more than OTEL_BSP_MAX_QUEUE_SIZE, which is 100"


def test_numbers_and_files_that_can_be_used_are_taken(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    wish = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "4096",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1024",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate),
        "REQUESTS_CA_BUNDLE": "",
    }

    assert load(KEY | ENDPOINT | wish, env_file=None).otel["OTEL_BSP_MAX_QUEUE_SIZE"] == "4096"
    # Without traces nobody heeds them.
    assert load(KEY | {"REQUESTS_CA_BUNDLE": "/none.pem"}, env_file=None).otel == {}
