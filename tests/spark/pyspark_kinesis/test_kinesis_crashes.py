"""kill -9 of driver, JVM and Python workers at each seam; then a restart from what is on disk."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from batch_files import batches_of, rows_of, write_once
from killing import kill_at_seams
from kinesis_streams import Stream
from pyspark.sql import SparkSession
from waits import until

# The source's model test, without Spark, dies at all seams; here are those where real processes make a difference.
SEAMS = ("after-ledger", "before-commit", "after-commit")
# The query that dies here reads by enhanced fan-out.
PUSHED, CONSUMER = "before-commit", "spark"


def consumers_of(stream: Stream) -> list[Any]:
    arn = stream.client.describe_stream_summary(StreamName=stream.name)["StreamDescriptionSummary"]["StreamARN"]
    return list(stream.client.list_stream_consumers(StreamARN=arn)["Consumers"])


@pytest.fixture(scope="module")
def crashed(kinesis_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder and streams, after a driver with one query a seam was killed with each query at its seam."""
    folder = tmp_path_factory.mktemp("crash")
    streams = {}
    for seam in SEAMS:
        streams[seam] = Stream(kinesis_url)
        streams[seam].client.create_stream(StreamName=streams[seam].name, ShardCount=1)
        streams[seam].put(50)
    pairs = [f"{seam}:{stream.name}" + f":{CONSUMER}" * (seam == PUSHED) for seam, stream in streams.items()]
    kill_at_seams(sys.executable, kinesis_url, folder, pairs)
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
    if seam == PUSHED:
        reader = reader.option("consumerName", CONSUMER)
    writer = reader.load().writeStream.foreachBatch(lambda frame, batch: write_once(out, batch, rows_of(frame)))
    writer = writer.option("checkpointLocation", str(folder / seam / "checkpoint")).trigger(availableNow=True)
    query = writer.start()
    assert query.awaitTermination(60)
    # The query that was killed registered it; this one cleans up.
    until(lambda: seam != PUSHED or not consumers_of(stream), "the consumer goes")
    rows = [row for batch in batches_of(out) for row in batch]
    assert Counter(value.encode() for _, _, value in rows) == Counter(stream.values)
    assert [int(number) for _, number, _ in rows] == sorted(int(number) for _, number, _ in rows)
