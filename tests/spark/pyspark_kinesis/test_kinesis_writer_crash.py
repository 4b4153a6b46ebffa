"""kill -9 of driver, JVM and Python workers while a query writes into a stream: every row at least once."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from dying_writer import RECORDS_A_CALL, writing
from killing import kill_at_seams
from kinesis_streams import Stream
from pyspark.sql import SparkSession

ROWS = 50
# How many rows of the first batch are in the stream when the driver is killed.
SEAMS = {"between-puts": RECORDS_A_CALL, "after-puts": ROWS, "before-commit": ROWS}

Streams = dict[str, Stream]


def add_lines(folder: Path, first: int) -> None:
    (folder / "lines").mkdir(parents=True, exist_ok=True)
    (folder / f"lines/{first}").write_text("".join(f"{n}\n" for n in range(first, first + ROWS)))


@pytest.fixture(scope="module")
def crashed(kinesis_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Streams]:
    """A folder, and the stream of each seam, after a driver was killed with each query at its seam."""
    folder, streams = tmp_path_factory.mktemp("writer-crash"), {}
    for seam in SEAMS:
        streams[seam] = Stream(kinesis_url)
        streams[seam].client.create_stream(StreamName=streams[seam].name, ShardCount=1)
        add_lines(folder / seam, 0)
    pairs = [f"{seam}:{stream.name}" for seam, stream in streams.items()]
    kill_at_seams(sys.executable, kinesis_url, folder, pairs, "dying_writer.py")
    return folder, streams


@pytest.mark.parametrize("seam", SEAMS)
def test_a_query_killed_while_it_writes_puts_every_row_at_least_once(
    seam: str, crashed: tuple[Path, Streams], spark: SparkSession
) -> None:
    folder, streams = crashed
    stream = streams[seam]
    put_before = Counter(record["Data"] for record in stream.records())
    assert put_before.total() == SEAMS[seam], "the driver was not killed where the test says"
    add_lines(folder / seam, ROWS)
    query = writing(spark, stream.url, folder / seam, stream.name)
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    # The batch that was not committed is put again as a whole, and nothing else is put twice.
    once = Counter(str(n).encode() for n in range(2 * ROWS))
    assert Counter(record["Data"] for record in stream.records()) == once + put_before
