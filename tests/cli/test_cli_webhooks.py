"""The commands about webhooks and orphans."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from gpukeeper.cli import webhook_receiver
from gpukeeper.cli.webhook_receiver import ReceivedEvent
from gpukeeper.webhooks.signing import parse_secret
from tests.cli.program import Program
from tests.client.fake_service import DELIVERY, INSTANCE, ORPHAN, FakeTime, problem

SECRET = "whsec_" + "c2VjcmV0IG9mIDI0IGJ5dGVzIG9yIG1vcmU="
OTHER = "whsec_" + "YWJj" * 8
DELIVERIES = {"deliveries": [DELIVERY], "nextCursor": None}
TABLE = """\
ID       EVENT             STATUS     URL                            ATTEMPTS  INSTANCE  CREATED
dlv_01k  instance.running  exhausted  https://hooks.example.com/gpu  1         ins_01k   2026-11-23 05:14:03Z
"""  # noqa: E501 - as wide as the table is


def test_deliveries_are_listed_newest_first(program: Program) -> None:
    program.service.reply("GET /api/deliveries", DELIVERIES | {"nextCursor": "c"})
    program.service.reply("GET /api/instances/ins_01k", INSTANCE)
    ended = program.run("deliveries", "ls", "--status", "exhausted", "--instance", "ins_01k")
    assert (ended.status, ended.stdout) == (0, TABLE)
    assert ended.stderr == "The newest 1; --limit shows more.\n"
    assert program.service.asked[-1] == (
        "GET /api/deliveries?status=exhausted&instanceId=ins_01k&limit=100"
    )


def test_deliveries_of_an_instance_that_does_not_exist_are_not_just_none(program: Program) -> None:
    program.service.reply("GET /api/instances", {"instances": [], "total": 0})
    missing = problem(404, "instance_not_found", "There is no instance 'nope'.")
    program.service.reply("GET /api/instances/nope", missing)
    ended = program.run("deliveries", "ls", "--instance", "nope")
    assert ended.status == 1
    assert ended.stderr.startswith("Error: There is no instance 'nope'. [instance_not_found]\n")


def test_a_delivery_is_shown_with_its_attempts_on_one_line_each(program: Program) -> None:
    program.service.reply("GET /api/deliveries/dlv_01k", DELIVERY)
    assert program.run("deliveries", "show", "dlv_01k").stdout == (
        "id         dlv_01k\n"
        "event      instance.running evt_01k\n"
        "instance   ins_01k\n"
        "url        https://hooks.example.com/gpu\n"
        "status     exhausted\n"
        "created    2026-11-23 05:14:03Z\n"
        "finished   2026-11-23 05:14:20Z\n"
        "attempt 1  2026-11-23 05:14:04Z HTTP 500 in 0.23 s: oh [2Jno\n"
    )


def test_a_redelivery_and_a_test_print_what_is_to_be_delivered(program: Program) -> None:
    program.service.reply("POST /api/deliveries/dlv_01k/redeliver", DELIVERY)
    program.service.reply("POST /api/webhooks/test", DELIVERIES)
    assert program.run("deliveries", "redeliver", "dlv_01k").stdout == TABLE
    assert program.run("webhooks", "test").stdout == TABLE


@pytest.mark.parametrize(
    ("arguments", "route", "body"),
    [
        (("deliveries", "ls"), "GET /api/deliveries", DELIVERIES),
        (("deliveries", "show", "dlv_01k"), "GET /api/deliveries/dlv_01k", DELIVERY),
        (("deliveries", "redeliver", "d"), "POST /api/deliveries/d/redeliver", DELIVERY),
        (("webhooks", "test"), "POST /api/webhooks/test", DELIVERIES),
        (("orphans", "ls"), "GET /api/orphans", {"orphans": [ORPHAN]}),
        (("orphans", "adopt", "ffff"), "POST /api/orphans/ffff/adopt", INSTANCE),
        (("orphans", "delete", "ffff", "--yes"), "DELETE /api/orphans/ffff", INSTANCE),
    ],
)
def test_json_is_what_the_service_said(
    program: Program, arguments: tuple[str, ...], route: str, body: dict[str, object]
) -> None:
    program.service.reply(route, body)
    ended = program.run(*arguments, "--output", "json")
    assert (ended.status, ended.stdout) == (0, json.dumps(body, indent=2) + "\n")


def test_orphans_are_listed_adopted_and_deleted(program: Program) -> None:
    program.service.reply("GET /api/orphans", {"orphans": [ORPHAN]})
    program.service.reply("POST /api/orphans/ffff/adopt", INSTANCE)
    deleting = INSTANCE | {"status": "deleting"}
    program.service.reply("DELETE /api/orphans/ffff", deleting)
    program.service.reply("GET /api/instances/ins_01k", deleting, INSTANCE | {"status": "deleted"})
    assert program.run("orphans", "ls").stdout == (
        "NOVITA ID         NAME           MARK  AT NOVITA  PRODUCT        REGION    USD/H  "
        "COSTS NOW                     FIRST SEEN\n"
        "ffff000011112222  trainer-gkabc  ours  running    RTX 4090 24GB  CN-HK-01  0.175  "
        "GPU $0.175/h, disk $0.00/day  "
        "2026-11-23 05:00:00Z\n"
    )
    assert program.run("orphans", "adopt", "ffff").stdout.splitlines()[1].startswith("ins_01k")
    ended = program.run("orphans", "delete", "ffff", "--yes")
    assert ended.status == 0
    assert ended.stdout.splitlines()[1].startswith("ins_01k  trainer  deleting")
    said = "Deleting ffff; it is gone when 'gpukeeper show ins_01k' says so.\n"
    assert ended.stderr == said
    waited = program.run("orphans", "delete", "ffff", "--yes", "--wait", "-o", "json")
    assert (waited.status, json.loads(waited.stdout)["status"]) == (0, "deleted")


@pytest.mark.parametrize(("verb", "method"), [("adopt", "POST"), ("delete", "DELETE")])
def test_who_names_no_orphan_is_sent_to_the_list_of_orphans(
    program: Program, verb: str, method: str
) -> None:
    route = f"{method} /api/orphans/nope" + ("/adopt" if verb == "adopt" else "")
    program.service.reply(route, problem(404, "instance_not_found", "There is no orphan 'nope'."))
    options = ("--yes",) if verb == "delete" else ()
    ended = program.run("orphans", verb, "nope", *options)
    assert ended.status == 1
    assert ended.stderr.endswith("'gpukeeper orphans ls' shows what there is.\n")
    program.service.reply(route, problem(401, "unauthorized"))
    assert program.run("orphans", verb, "nope", *options).status == 6


def test_deleting_an_orphan_asks_a_person(program: Program) -> None:
    ended = program.run("orphans", "delete", "ffff", on_terminal=True, stdin="\n")
    assert ended.status == 1
    assert program.service.requests == []


def test_the_secret_of_the_data_directory_is_printed(program: Program, tmp_path: Path) -> None:
    (tmp_path / "webhook_secret").write_text(SECRET + "\n")
    ended = program.run("webhooks", "secret", "--data-dir", str(tmp_path))
    assert (ended.status, ended.stdout, ended.stderr) == (0, SECRET + "\n", "")


def test_the_secret_is_found_where_the_service_finds_it(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/webhook_secret").write_text(SECRET)
    (tmp_path / ".env").write_text("GPUKEEPER_DATA_DIR=kept\n")
    assert program.run("webhooks", "secret").stdout == SECRET + "\n"
    both = {"GPUKEEPER_WEBHOOK_SECRET": f"{OTHER},{SECRET}"}
    assert program.run("webhooks", "secret", env=both).stdout == OTHER + "\n"


def test_a_secret_that_is_not_there_is_not_invented(program: Program, tmp_path: Path) -> None:
    ended = program.run("webhooks", "secret", "--data-dir", str(tmp_path))
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Error: there is no webhook secret in '{tmp_path}'. ")


def test_a_new_secret_is_made_and_not_kept(program: Program, tmp_path: Path) -> None:
    (tmp_path / "webhook_secret").write_text(SECRET)
    before = list(tmp_path.iterdir())
    arguments = ("webhooks", "secret", "--new")
    made = [program.run(*arguments, env={"GPUKEEPER_DATA_DIR": str(tmp_path)}) for _ in range(2)]
    secrets = {parse_secret(ended.stdout).get_secret_value() for ended in made}
    assert len(secrets) == 2
    assert SECRET not in secrets
    assert "GPUKEEPER_WEBHOOK_SECRET" in made[0].stderr
    assert list(tmp_path.iterdir()) == before


class Receiver:
    """Stands in for the receiver: takes one event, refuses another, and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secrets: list[str] = []
        self.address: tuple[str, int] | None = None
        monkeypatch.setattr(webhook_receiver, "build_receiver", self._build)
        monkeypatch.setattr(webhook_receiver, "run_receiver", self._run)

    def _build(
        self,
        *,
        secrets: tuple[SecretStr, ...],
        clock: object,
        on_event: Callable[[ReceivedEvent], None],
        on_refused: Callable[[str], None],
    ) -> Starlette:
        self.secrets = [each.get_secret_value() for each in secrets]
        self._on_event, self._on_refused = on_event, on_refused
        return Starlette()

    def _run(
        self, app: Starlette, *, host: str, port: int, on_listening: Callable[[str], None]
    ) -> None:
        self.address = (host, port)
        on_listening(f"http://{host}:{port}")
        body = {"type": "webhook.test", "timestamp": "2026-11-23T05:12:25.000Z", "data": {}}
        self._on_event(ReceivedEvent("evt_01k", body))
        self._on_refused("No signature was made with a known secret.")


def test_listen_shows_events_on_stdout_and_everything_else_on_stderr(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver(monkeypatch)
    ended = program.run("webhooks", "listen", env={"GPUKEEPER_WEBHOOK_SECRET": SECRET})
    assert ended.status == 0
    assert ended.stdout == "2026-11-23T05:12:25.000Z  webhook.test\n"
    assert ended.stderr == (
        "Listening on http://127.0.0.1:9091; "
        "signatures are verified with the secret of GPUKEEPER_WEBHOOK_SECRET.\n"
        "The service sends here with GPUKEEPER_WEBHOOK_URL=http://127.0.0.1:9091/\n"
        "Refused: No signature was made with a known secret.\n"
    )
    assert receiver.secrets == [SECRET]
    assert receiver.address == ("127.0.0.1", 9091)


def test_listen_reads_the_kept_secret_and_can_print_json(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receiver = Receiver(monkeypatch)
    (tmp_path / "webhook_secret").write_text(SECRET)
    arguments = ("webhooks", "listen", "--data-dir", str(tmp_path), "--port", "0", "-o", "json")
    ended = program.run(*arguments)
    assert json.loads(ended.stdout)["id"] == "evt_01k"
    assert (receiver.secrets, receiver.address) == ([SECRET], ("127.0.0.1", 0))


def test_listen_waits_for_the_secret_that_the_service_makes_when_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class ServiceThatStarts(FakeTime):
        def sleep(self, seconds: float) -> None:
            self.pauses.append(seconds)
            if len(self.pauses) == 2:
                (tmp_path / "webhook_secret").write_text(SECRET)

    receiver = Receiver(monkeypatch)
    program = Program(monkeypatch, time=ServiceThatStarts())
    ended = program.run("webhooks", "listen", "--data-dir", str(tmp_path))
    assert ended.status == 0
    assert ended.stderr.startswith(
        f"Waiting: there is no webhook secret in '{tmp_path}'. The service makes one when it starts"
    )
    assert ended.stderr.count("Waiting") == 1
    assert receiver.secrets == [SECRET]


def test_listen_takes_the_secret_from_a_file_that_only_its_owner_reads(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receiver = Receiver(monkeypatch)
    (tmp_path / "secret").write_bytes(b"\xef\xbb\xbf" + SECRET.encode() + b"\n")
    given = {"GPUKEEPER_WEBHOOK_SECRET": OTHER}
    file = str(tmp_path / "secret")
    ended = program.run("webhooks", "listen", "--secret-file", file, env=given)
    assert (ended.status, receiver.secrets) == (0, [SECRET])
    assert SECRET not in ended.stderr
    (tmp_path / "secret").write_bytes(b"\xff\xff")
    for name in ("secret", "missing"):
        ended = program.run("webhooks", "listen", "--secret-file", str(tmp_path / name))
        assert ended.status == 2
        assert "--secret-file" in ended.stderr


def test_listen_refuses_what_is_no_secret(program: Program, tmp_path: Path) -> None:
    given = {"GPUKEEPER_WEBHOOK_SECRET": "whsec_short"}
    ended = program.run("webhooks", "listen", "--data-dir", str(tmp_path), env=given)
    assert ended.status == 2
    assert "--secret" in ended.stderr
    assert "whsec_short" not in ended.stderr


def test_a_secret_that_cannot_be_read_is_a_wrong_option(program: Program, tmp_path: Path) -> None:
    (tmp_path / "webhook_secret").mkdir()
    ended = program.run("webhooks", "secret", "--data-dir", str(tmp_path))
    assert ended.status == 2
    assert "--data-dir" in ended.stderr
