"""A Spark driver that keeps one query for each schedule alive, started again from its checkpoint whenever it fails.

Argument: a folder with one folder a schedule, each with a ``query.json``. A query ends when its folder holds ``done``.
"""

import json
import sys
import threading
from pathlib import Path

from batch_files import rows_of, write_once
from faulty_source import FOLDER_OPTION, FaultySource
from pyspark.sql import DataFrame, SparkSession

CORES = 4
ATTEMPTS = 2


def keep_running(spark: SparkSession, folder: Path) -> None:
    options = json.loads((folder / "query.json").read_text())

    # Spark changes the environment of a registered source without a lock whenever a query on it starts, and queries
    # that start at once leave it unreadable for every task thereafter (OptionalDataException). So one for each query.
    class OwnSource(FaultySource):
        @classmethod
        def name(cls) -> str:
            return f"kinesis-{folder.name}"

    spark.dataSource.register(OwnSource)

    def sink(frame: DataFrame, batch: int) -> None:
        write_once(folder / "out", batch, rows_of(frame))

    while not (folder / "done").exists():
        reader = spark.readStream.format(f"kinesis-{folder.name}").options(**options).option(FOLDER_OPTION, str(folder))
        writer = reader.option("ledgerLocation", str(folder / "ledger")).load().writeStream.foreachBatch(sink)
        writer = writer.option("checkpointLocation", str(folder / "checkpoint"))
        try:
            query = writer.trigger(processingTime="0 seconds").start()
            while not query.awaitTermination(1):
                if (folder / "done").exists():
                    query.stop()
        except Exception as error:
            with (folder / "errors.log").open("a") as log:
                log.write(f"{error}\n---\n")


def main(root: Path) -> None:
    # Some tasks are tried again in place, and some failures end the query.
    builder = SparkSession.builder.master(f"local[{CORES},{ATTEMPTS}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    builder = builder.config("spark.log.level", "ERROR").config("spark.sql.shuffle.partitions", "2")
    for name in ("spark.driver.bindAddress", "spark.driver.host"):
        builder = builder.config(name, "127.0.0.1")
    spark = builder.getOrCreate()
    folders = sorted(path.parent for path in root.glob("*/query.json"))
    threads = [threading.Thread(target=keep_running, args=(spark, folder)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
