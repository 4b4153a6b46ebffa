"""A driver to be killed: reads a stream into a folder, one file a batch, and stops dead at a seam when told to.

Arguments: endpoint URL, stream, folder, seam (``read``: the batch was read, the sink holds nothing; ``sunk``: the sink
holds it, Spark has not committed; ``none``: drain the stream and end). At a seam it prints ``reached`` and waits.
"""

import json
import os
import sys
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
endpoint, stream, folder, seam = sys.argv[1:]
home = Path(folder)


def halt() -> None:
    print("reached", flush=True)
    sys.stdin.read()


def keep(frame: DataFrame, batch: int) -> None:
    rows = sorted((row.shard_id, row.sequence_number, bytes(row.data).decode()) for row in frame.collect())
    if not rows:
        return
    # Every attempt leaves what it read, so that the test can compare them.
    (home / f"attempt-{batch}-{os.getpid()}.json").write_text(json.dumps(rows))
    if seam == "read":
        halt()
    (home / f"sink-{batch}.json").write_text(json.dumps(rows))
    if seam == "sunk":
        halt()


spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .getOrCreate()
)
writer = (
    spark.readStream.format("kinesis")
    .option("streamName", stream)
    .option("endpointUrl", endpoint)
    .option("ledgerLocation", str(home / "ledger"))
    .option("maxRecordsPerTrigger", 40)
    .load()
    .writeStream.foreachBatch(keep)
    .option("checkpointLocation", str(home / "checkpoint"))
)
if seam == "none":
    writer = writer.trigger(availableNow=True)
writer.start().awaitTermination()
spark.stop()
