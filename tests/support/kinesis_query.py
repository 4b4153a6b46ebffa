"""One Trigger.AvailableNow of a query over a stream, by whatever Spark runs this file; batches go to files.

Arguments: endpoint URL, stream, folder of the query (ledger, checkpoint, out), options as JSON.
"""

import json
import sys
from pathlib import Path

from batch_files import rows_of, write_once
from pyspark.sql import SparkSession

from pyspark_kinesis import DefaultSource


def main(url: str, stream: str, folder: Path, options: dict[str, str]) -> None:
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    for name in ("spark.driver.bindAddress", "spark.driver.host"):
        builder = builder.config(name, "127.0.0.1")
    spark = builder.getOrCreate()
    spark.dataSource.register(DefaultSource)
    reader = spark.readStream.format("kinesis").option("streamName", stream).option("endpointUrl", url)
    reader = reader.option("ledgerLocation", str(folder / "ledger")).options(**options)
    writer = reader.load().writeStream.foreachBatch(
        lambda frame, batch: write_once(folder / "out", batch, rows_of(frame))
    )
    query = writer.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start()
    query.awaitTermination()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))
