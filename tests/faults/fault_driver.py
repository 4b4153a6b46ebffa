"""A Spark driver that keeps one query for each schedule alive, started again from its checkpoint whenever it fails.

Argument: a folder with one folder a schedule, each with a ``query.json``; they may come later. A query ends when its
folder holds ``done``, and then leaves ``stopped``. While it holds ``pause <number>``, the query is stopped, which
``paused <number>`` says. The driver runs until it is killed.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from batch_files import rows_of, write_once
from faulty_source import FOLDER_OPTION, FaultySource, taken
from pyspark.sql import DataFrame, SparkSession

CORES = 4
ATTEMPTS = 2
# Spark gives a new Python process ten seconds to call back: on a busy machine they start one by one.
STARTING = threading.Semaphore(1)
STARTING_SECONDS = 30


def keep_running(spark: SparkSession, folder: Path) -> None:
    options = json.loads((folder / "query.json").read_text())
    lossy = options.get("failOnDataLoss") == "false"

    # Spark changes the environment of a registered source without a lock whenever a query on it starts, and queries
    # that start at once leave it unreadable for every task thereafter (OptionalDataException). So one for each query.
    class OwnSource(FaultySource):
        @classmethod
        def name(cls) -> str:
            return f"kinesis-{folder.name}"

    spark.dataSource.register(OwnSource)

    def sink(frame: DataFrame, batch: int) -> None:
        write_once(folder / "out", batch, rows_of(frame), lossy=lossy)
        if taken(folder, "sink fails"):
            raise OSError("the sink cannot say that it is done")
        if taken(folder, "after emit"):
            # The JVM is the driver; the keeper of this session ends what is left of it, and starts another.
            os.kill(spark.sparkContext._gateway.proc.pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    reader = spark.readStream.format(f"kinesis-{folder.name}").options(**options).option(FOLDER_OPTION, str(folder))
    reader = reader.option("ledgerLocation", str(folder / "ledger"))
    while not (folder / "done").exists():
        if pauses := list(folder.glob("pause *")):
            for pause in pauses:
                (folder / pause.name.replace("pause", "paused")).touch()
            time.sleep(0.1)
            continue
        try:
            with STARTING:
                writer = reader.load().writeStream.foreachBatch(sink)
                writer = writer.option("checkpointLocation", str(folder / "checkpoint"))
                query = writer.trigger(processingTime="0 seconds").start()
                deadline = time.monotonic() + STARTING_SECONDS
                while not query.recentProgress and time.monotonic() < deadline and not query.awaitTermination(1):
                    pass
            while not query.awaitTermination(1):
                if (folder / "done").exists() or list(folder.glob("pause *")):
                    query.stop()
        except Exception as error:
            with (folder / "errors.log").open("a") as log:
                log.write(f"{error}\n---\n")
    (folder / "stopped").touch()


def main(root: Path) -> None:
    # Some tasks are tried again in place, and some failures end the query.
    builder = SparkSession.builder.master(f"local[{CORES},{ATTEMPTS}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    # An idle query that looks a hundred times a second leaves less for the others.
    builder = builder.config("spark.sql.streaming.pollingDelay", "100ms")
    builder = builder.config("spark.log.level", "ERROR").config("spark.sql.shuffle.partitions", "2")
    # Writes a checkpoint's files without starting processes for their permissions.
    manager = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    builder = builder.config("spark.sql.streaming.checkpointFileManagerClass", manager)
    for name in ("spark.driver.bindAddress", "spark.driver.host"):
        builder = builder.config(name, "127.0.0.1")
    spark = builder.getOrCreate()
    known: set[Path] = set()
    while True:  # until it is killed
        for folder in {path.parent for path in root.glob("*/query.json")} - known:
            known.add(folder)
            if not (folder / "done").exists():
                threading.Thread(target=keep_running, args=(spark, folder), daemon=True).start()
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
