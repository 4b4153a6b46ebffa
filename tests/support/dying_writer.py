"""A driver whose queries write lines of files into streams and halt at a seam of the writer, to be killed there.

Arguments: endpoint URL, folder, then "seam:stream" pairs. The files are in "<seam>/lines" in the folder. A query that
has reached its seam leaves a file "<seam>.reached" in the folder and stays where it is.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from dying_driver import halt, short_lived_session
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery
from pyspark.sql.types import StructType

from pyspark_kinesis.api.client import shared_client
from pyspark_kinesis.options.put import parse_put
from pyspark_kinesis.sink.put_records import Put, Putter
from pyspark_kinesis.sink.writer import KinesisStreamWriter
from pyspark_kinesis.source import DefaultSource

RECORDS_A_CALL = 10


def main(url: str, folder: Path, pairs: list[str]) -> None:
    spark = short_lived_session()
    for pair in pairs:
        query, marker = start_query(spark, url, folder, *pair.split(":"))
        # One after the other: Spark gives a new Python process ten seconds to call back.
        while not marker.exists():
            query.awaitTermination(0.1)
    spark.streams.awaitAnyTermination()


def writing(spark: SparkSession, url: str, folder: Path, stream: str, sink: str = "kinesis") -> StreamingQuery:
    """A query that puts the lines of a folder's files, each under itself as its key."""
    lines = spark.readStream.text(str(folder / "lines")).selectExpr("value AS data", "value AS partitionKey")
    writer = lines.writeStream.format(sink).option("streamName", stream).option("endpointUrl", url)
    writer = writer.option("maxRecordsPerPut", RECORDS_A_CALL).option("requestsInFlight", 1)
    return writer.option("checkpointLocation", str(folder / "checkpoint")).start()


def start_query(spark: SparkSession, url: str, folder: Path, seam: str, stream: str) -> tuple[StreamingQuery, Path]:
    marker = folder / f"{seam}.reached"

    class HaltingPutter(Putter):
        def _put_call(self, *arguments: Any) -> None:
            super()._put_call(*arguments)
            if seam == "between-puts":
                halt(marker)

    class HaltingWriter(KinesisStreamWriter):
        def write(self, iterator: Iterator[pa.RecordBatch]) -> Put:
            options = self._options
            client = shared_client(options.region, options.endpoint_url, options.identity)
            done = HaltingPutter(options, client).put(iterator)
            if seam == "after-puts":
                halt(marker)
            return done

        def commit(self, *arguments: Any) -> None:
            if seam == "before-commit":
                halt(marker)
            super().commit(*arguments)

    class HaltingSink(DefaultSource):
        @classmethod
        def name(cls) -> str:
            return f"kinesis-{seam}"

        def streamWriter(self, schema: StructType, overwrite: bool) -> KinesisStreamWriter:
            return HaltingWriter(parse_put(self.options, schema))

    spark.dataSource.register(HaltingSink)
    return writing(spark, url, folder / seam, stream, f"kinesis-{seam}"), marker


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
