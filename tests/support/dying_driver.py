"""A driver that comes to a halt at each seam, one query a seam, so that a test can kill it there.

Arguments: endpoint URL, folder, then "seam:stream" or "seam:stream:consumer" for each. A query that has reached its
seam leaves a file "<seam>.reached" in the folder and stays where it is.
"""

import sys
import threading
from pathlib import Path

from batch_files import rows_of, write_once
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.offsets import Offset
from pyspark_kinesis.offsets.stores.store import open_store
from pyspark_kinesis.source import DefaultSource, NewestStreamReader


def halt(marker: Path) -> None:
    marker.touch()
    threading.Event().wait()


def short_lived_session() -> SparkSession:
    builder = SparkSession.builder.master("local[4]").config("spark.ui.enabled", "false")
    # Compiled quickly rather than well: the driver lives for seconds.
    builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    for name in ("spark.driver.bindAddress", "spark.driver.host"):
        builder = builder.config(name, "127.0.0.1")
    return builder.getOrCreate()


def main(url: str, folder: Path, pairs: list[str]) -> None:
    spark = short_lived_session()
    for pair in pairs:
        start_query(spark, url, folder, *pair.split(":"))
    spark.streams.awaitAnyTermination()


def start_query(spark: SparkSession, url: str, folder: Path, seam: str, stream: str, *consumer: str) -> None:
    marker = folder / f"{seam}.reached"

    class HaltingLedger(Ledger):
        def record(self, run: str, batch: int, shard_id: str, entry: Entry) -> Entry:
            recorded = super().record(run, batch, shard_id, entry)
            if seam == "after-ledger":
                halt(marker)
            return recorded

    class HaltingReader(NewestStreamReader):
        def commit(self, end: Offset) -> None:
            if seam == "after-commit":
                halt(marker)
            super().commit(end)

        def _ledger(self) -> Ledger:
            return HaltingLedger(open_store(self._options.ledger_location))

    class HaltingSource(DefaultSource):
        @classmethod
        def name(cls) -> str:
            return f"kinesis-{seam}"

        def streamReader(self, schema: StructType) -> NewestStreamReader:
            return HaltingReader(self._parsed(), schema)

    def sink(frame: DataFrame, batch: int) -> None:
        write_once(folder / seam / "out", batch, rows_of(frame))
        if seam == "before-commit":
            halt(marker)

    spark.dataSource.register(HaltingSource)
    reader = spark.readStream.format(f"kinesis-{seam}").option("streamName", stream).option("endpointUrl", url)
    reader = reader.option("ledgerLocation", str(folder / seam / "ledger")).option("maxRecordsPerTrigger", 20)
    if consumer:
        reader = reader.option("consumerName", *consumer)
    writer = reader.load().writeStream.foreachBatch(sink)
    writer.option("checkpointLocation", str(folder / seam / "checkpoint")).start()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
