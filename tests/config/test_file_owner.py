"""Whose a file is that cannot be used is said in one sentence, with what to do about it."""

import os
from pathlib import Path

import pytest

from gpukeeper.config import file_owner


def test_what_belongs_to_another_user_is_said_with_both_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret_key"
    path.touch(mode=0o600)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    assert file_owner.explain_owner(path) == (
        f": {path} belongs to user {owner} with mode 600, and this runs as user 10001; as root, run"
        f" 'chown 10001 {path}'"
    )


def test_our_own_file_wants_another_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    path.touch(mode=0o400)
    assert f"{path} belongs to user {os.geteuid()} with mode 400; as that user, run 'chmod" in (
        file_owner.explain_owner(path)
    )


def test_what_is_not_there_is_told_of_its_folder(tmp_path: Path) -> None:
    assert f": {tmp_path} belongs to user" in file_owner.explain_owner(
        tmp_path / "none" / "secret_key"
    )


def test_of_what_nobody_can_look_at_nothing_is_said() -> None:
    assert file_owner.explain_owner(Path("relative-and-not-there")) != ""
    assert file_owner.explain_owner(Path()) != ""
