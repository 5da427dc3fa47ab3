"""PostgreSQL and replicas: one of each kind is killed, and nobody notices."""

import subprocess
from collections.abc import Callable

from tests.deployment.stack import SCALE, Stack
from tests.deployment.test_single import KEY, OURS

PASSWORD = {"POSTGRES_PASSWORD": "a-password-of-the-compose-tests"}
SETTINGS = PASSWORD | OURS


def test_replicas_share_the_work_and_one_of_each_may_die(stack: Callable[..., Stack]) -> None:
    scaled = stack(files=SCALE, settings=SETTINGS, key=KEY)
    scaled.up()
    apis, engines = scaled.containers("api"), scaled.containers("engine")
    assert (len(apis), len(engines)) == (2, 2)
    first = scaled.order()
    scaled.wait_for_webhook("instance.running", first["id"])

    for victim in (apis[0], engines[0]):
        subprocess.run(["docker", "kill", victim], check=True, stdout=subprocess.DEVNULL)

    second = scaled.order()
    scaled.wait_for_webhook("instance.running", second["id"])
    names = [row["name"] for row in scaled.http.get("/api/instances").json()["instances"]]
    assert names == ["trainer", "trainer"]
    deleted = scaled.http.delete(f"/api/instances/{second['id']}")
    assert deleted.status_code == 202
    scaled.wait_for(second["id"], "deleted")
