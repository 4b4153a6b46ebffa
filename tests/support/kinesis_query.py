"""Trigger.AvailableNow of queries over streams, by whatever Spark runs this file; batches go to files.

Arguments: endpoint URL, options as JSON, how often each query is started, "stream:folder" for each query. Its folder
holds ledger, checkpoint and out. The queries run at once, in one driver: a driver for each would cost half a minute.
"""

import json
import sys
from pathlib import Path

from batch_files import rows_of, write_once
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from pyspark_kinesis import DefaultSource


def main(url: str, options: dict[str, str], times: int, pairs: list[str]) -> None:
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    for name in ("spark.driver.bindAddress", "spark.driver.host"):
        builder = builder.config(name, "127.0.0.1")
    spark = builder.getOrCreate()
    spark.dataSource.register(DefaultSource)
    for _ in range(times):
        queries = []
        for pair in pairs:
            stream, _, folder = pair.partition(":")
            queries.append(start(spark, url, stream, Path(folder), options))
        for query in queries:
            query.awaitTermination()


def start(spark: SparkSession, url: str, stream: str, folder: Path, options: dict[str, str]) -> StreamingQuery:
    reader = spark.readStream.format("kinesis").option("streamName", stream).option("endpointUrl", url)
    reader = reader.option("ledgerLocation", str(folder / "ledger")).options(**options)
    writer = reader.load().writeStream.foreachBatch(
        lambda frame, batch: write_once(folder / "out", batch, rows_of(frame))
    )
    return writer.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
