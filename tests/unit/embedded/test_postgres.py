"""PostgreSQL from the wheel: starts, keeps what was committed through kill -9, and opens to its owner only."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tidemark.core.processes import Child
from tidemark.core.waiting import wait_for
from tidemark.embedded.postgres import STOP_SIGNAL, Postgres


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    made = Postgres(tmp_path / "postgres")
    yield made
    made.remove()


def start(server: Postgres, folder: Path) -> Child:
    server.prepare()
    child = Child(
        "postgres", server.command(), folder / "log", server.environment(), stop_signal=STOP_SIGNAL, user=server.user
    )
    wait_for(server.answers, "it answers", depends_on=[child], every_seconds=0.02)
    return child


def rows(server: Postgres) -> list[tuple[int]]:
    with psycopg2.connect(server.url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM kept ORDER BY n")
        return list(cursor.fetchall())


def test_what_was_committed_is_there_after_a_kill_and_a_second_start(server: Postgres, tmp_path: Path) -> None:
    child = start(server, tmp_path)
    server.execute("CREATE TABLE kept AS SELECT 1 AS n")
    server.execute("CHECKPOINT")
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    again = start(server, tmp_path)
    try:
        assert rows(server) == [(1,)]
    finally:
        again.stop()
    assert again.process.returncode == 0


def test_its_socket_is_closed_to_others(server: Postgres, tmp_path: Path) -> None:
    child = start(server, tmp_path)
    try:
        folder = Path(server.url.partition("host=")[2])
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0
        assert "listen_addresses=" in server.command()
    finally:
        child.stop()


def test_a_long_path_has_its_socket_elsewhere(tmp_path: Path) -> None:
    server = Postgres(tmp_path / ("long" * 30) / "postgres")
    try:
        child = start(server, tmp_path)
        child.stop()
    finally:
        server.remove()
