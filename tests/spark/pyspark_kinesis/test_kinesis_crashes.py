"""kill -9 of driver, JVM and Python workers at each seam; then a restart from what is on disk."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dying_driver import rows_of, write_once
from kinesis_streams import Stream
from pyspark.sql import SparkSession

# The source's model test, without Spark, dies at all seams; here are those where real processes make a difference.
SEAMS = ("after-ledger", "before-commit", "after-commit")


def kill_session(leader: int) -> None:
    """Kill every process of a session that we started; Spark's workers are in process groups of their own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def crashed(kinesis_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder and streams, after a driver with one query a seam was killed with each query at its seam."""
    folder = tmp_path_factory.mktemp("crash")
    streams = {}
    for seam in SEAMS:
        streams[seam] = Stream(kinesis_url)
        streams[seam].client.create_stream(StreamName=streams[seam].name, ShardCount=1)
        streams[seam].put(50)
    pairs = [f"{seam}:{stream.name}" for seam, stream in streams.items()]
    command = [sys.executable, str(Path(__file__).with_name("dying_driver.py")), kinesis_url, str(folder), *pairs]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        try:
            deadline = time.monotonic() + 120
            while not all((folder / f"{seam}.reached").exists() for seam in SEAMS):
                assert driver.poll() is None, (folder / "log").read_text()[-3000:]
                assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
                time.sleep(0.05)
        finally:
            kill_session(driver.pid)
            driver.wait()
    return folder, streams


@pytest.mark.parametrize("seam", SEAMS)
def test_a_query_killed_at_a_seam_resumes_exactly(
    seam: str, crashed: tuple[Path, dict[str, Any]], spark: SparkSession
) -> None:
    folder, streams = crashed
    stream, out = streams[seam], folder / seam / "out"
    assert list((folder / seam / "ledger").glob("*/*/*.json")), "the driver was not killed where the test says"
    assert len(list(out.glob("*.json"))) == {"after-ledger": 0, "before-commit": 1, "after-commit": 1}[seam]
    stream.put(50)
    reader = spark.readStream.format("kinesis").option("streamName", stream.name).option("endpointUrl", stream.url)
    reader = reader.option("ledgerLocation", str(folder / seam / "ledger"))
    writer = reader.load().writeStream.foreachBatch(lambda frame, batch: write_once(out, batch, rows_of(frame)))
    writer = writer.option("checkpointLocation", str(folder / seam / "checkpoint")).trigger(availableNow=True)
    query = writer.start()
    assert query.awaitTermination(60)
    batches = sorted(out.glob("*.json"), key=lambda path: int(path.stem))
    rows = [row for path in batches for row in json.loads(path.read_text())]
    assert Counter(value.encode() for _, _, value in rows) == Counter(stream.values)
    assert [int(number) for _, number, _ in rows] == sorted(int(number) for _, number, _ in rows)
