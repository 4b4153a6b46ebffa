"""Bronze as a stream whose offsets are positions in the log, for the refine stream.

Spark's Delta source counts table versions, which OPTIMIZE moves, and takes 0.3 to 0.4 s to find the latest. This one
counts ``ingest_batch``: a replay reads the same rows whatever became of the files, and the latest position is one field
of the table's log. After the rows of the range it emits one marker row an ingest_batch with the number of its records,
so that the sink knows how far it has come also where deduplication left nothing.

The records are split into events where they are read (``tidemark.core.documents``): they are in Python there already,
and a pass through another Python worker would cost each micro-batch as much again.
"""

import json
from typing import Any

from pyspark.sql.datasource import DataSource, DataSourceStreamReader

from tidemark.core.documents import ORDINAL, PROBLEM, RAW, Splitter

BRONZE_LOG_FORMAT = "tidemark_bronze"
_RECORDS = (
    "data BINARY, partition_key STRING, stream STRING, shard_id STRING, sequence_number STRING, "
    "sub_sequence_number BIGINT, approximate_arrival_timestamp TIMESTAMP, ingest_batch BIGINT, segment BIGINT, "
    "ingest_time TIMESTAMP, ingest_date DATE"
)
_COUNTS = "_records BIGINT, _events BIGINT"


class BronzeLogSource(DataSource):
    """``spark.readStream.format("tidemark_bronze")``: events of the log, and marker rows.

    Options: uri, storageOptions (JSON), after, reached, maxRecords, maxBytes, columns (JSON: the fields that are read
    of an event) and holds (what a record is: ``RecordFormat``).

    ``after``: the ingest_batch after which a query without a checkpoint starts. ``reached``: one that the tables hold.
    """

    @classmethod
    def name(cls) -> str:
        return BRONZE_LOG_FORMAT

    def schema(self) -> str:
        texts = ", ".join(f"`{name}`: STRING" for name in self._columns())
        return f"{_RECORDS}, {ORDINAL} BIGINT, {PROBLEM} STRING, {RAW} STRUCT<{texts}>, {_COUNTS}"

    def streamReader(self, schema: Any) -> DataSourceStreamReader:
        # Here, as Spark makes the source in several processes, of which some ask for its schema only.
        try:
            from tidemark_spark.speed.bronze_source.reader_42 import AdmissionReader as NewestReader
        except ImportError:  # Spark 4.1 and older have no admission control for Python sources
            from tidemark_spark.speed.bronze_source.reader_41 import GuessingReader as NewestReader  # type: ignore[assignment]
        after = int(self.options.get("after", "-1"))
        return NewestReader(
            uri=self.options["uri"],
            storage_options=json.loads(self.options.get("storageOptions", "{}")),
            after=after,
            reached=max(after, int(self.options.get("reached", "-1"))),
            max_records=int(self.options.get("maxRecords", "50000")),
            max_bytes=int(self.options.get("maxBytes", str(64 * 2**20))),
            splitter=Splitter(self._columns(), self.options.get("holds", "object")),  # type: ignore[arg-type]
        )

    def _columns(self) -> list[str]:
        return list(json.loads(self.options["columns"]))
