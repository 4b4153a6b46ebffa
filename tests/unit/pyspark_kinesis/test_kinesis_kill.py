"""A driver killed with SIGKILL between the ledger and Spark's commit, and started again on the same checkpoint.

No session here: each driver is a process of its own, or killing it would prove nothing.
"""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import boto3

_DRIVER = Path(__file__).with_name("kinesis_driver.py")


def _start(url: str, stream: str, folder: Path, seam: str) -> "subprocess.Popen[str]":
    with (folder / f"{seam}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, str(_DRIVER), url, stream, str(folder), seam],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def _kill_at(url: str, stream: str, folder: Path, seam: str) -> None:
    driver = _start(url, stream, folder, seam)
    assert driver.stdout is not None
    reached = driver.stdout.readline().strip()
    # The group: Spark's JVM must not get to clean up either.
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert reached == "reached", (folder / f"{seam}.log").read_text()[-3000:]


def test_a_driver_killed_between_ledger_and_commit_loses_and_doubles_nothing(kinesis_url: str, tmp_path: Path) -> None:
    client = boto3.client("kinesis", region_name="us-east-1", endpoint_url=kinesis_url)
    name = uuid.uuid4().hex
    client.create_stream(StreamName=name, ShardCount=2)
    values: list[str] = []

    def put(number: int) -> None:
        new = [str(len(values) + n) for n in range(number)]
        client.put_records(StreamName=name, Records=[{"Data": v.encode(), "PartitionKey": v} for v in new])
        values.extend(new)

    # Fewer than the limit, so that what arrives later would fit into the batch as well: only the ledger keeps it out.
    put(15)
    _kill_at(kinesis_url, name, tmp_path, "read")
    assert not list(tmp_path.glob("sink-*"))
    put(100)
    _kill_at(kinesis_url, name, tmp_path, "sunk")
    put(15)
    last = _start(kinesis_url, name, tmp_path, "none")
    last.communicate(timeout=120)
    assert last.returncode == 0, (tmp_path / "none.log").read_text()[-3000:]

    attempts: dict[str, list[str]] = {}
    for path in tmp_path.glob("attempt-*.json"):
        attempts.setdefault(path.name.split("-")[1], []).append(path.read_text())
    assert max(map(len, attempts.values())) == 3, "the batch in doubt is read once by each driver"
    assert all(len(set(texts)) == 1 for texts in attempts.values()), "a replay gives the same rows"
    sunk = [row for path in tmp_path.glob("sink-*.json") for row in json.loads(path.read_text())]
    assert Counter(value for _, _, value in sunk) == Counter(values)
