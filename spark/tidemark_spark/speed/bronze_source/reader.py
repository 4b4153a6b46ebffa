"""Reading bronze by positions in the log: what the readers for Spark 4.2 and for 4.1 have in common."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from pyspark.sql.datasource import DataSourceStreamReader, InputPartition

from tidemark.core.columns import BATCH_BYTES
from tidemark.core.documents import Splitter
from tidemark.lake.snapshots import active_files, open_uri, position
from tidemark.lake.tables import BRONZE_SCHEMA
from tidemark.lake.transaction_ids import INGEST_APP

_MAX_BYTES = f"max.{BATCH_BYTES}"
_COUNTS = ("_records", "_events")
_CHUNK_ROWS, _CHUNK_BYTES = 4_000, 16 * 2**20
"""Records that are split at a time: Python's objects of them are many times their size."""
_SCHEMA = pa.schema([field for field in BRONZE_SCHEMA if field.name != BATCH_BYTES])
_ORDER = ["ingest_batch", "shard_id", "_length", "sequence_number", "sub_sequence_number"]


class _Range(InputPartition):
    def __init__(self, after: int, through: int, version: int) -> None:
        self.after = after
        self.through = through
        self.version = version


class BronzeLogReader(DataSourceStreamReader):
    """Offsets are the newest ``ingest_batch`` contained; ``after`` is where a query without a checkpoint starts.

    ``reached``: a position that the query has surely come to, and not surely gone beyond.
    """

    def __init__(
        self,
        uri: str,
        storage_options: dict[str, str],
        after: int,
        reached: int,
        max_records: int,
        max_bytes: int,
        splitter: Splitter,
    ) -> None:
        self._uri = uri
        self._storage_options = storage_options
        self._after = after
        self._reached = reached
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._splitter = splitter
        self._table: DeltaTable | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A snapshot belongs to the driver's planner; executors open the version that they are told.
        return {**self.__dict__, "_table": None}

    def initialOffset(self) -> dict[str, int]:
        return {"ingest_batch": self._after}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> list[InputPartition]:
        # One partition: within a key the first copy in log order must win, and only one partition keeps that order.
        return [_Range(start["ingest_batch"], end["ingest_batch"], self._snapshot().version())]

    def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
        # It imports pandas, a third of a second that only those who read have to pay.
        import pyarrow.dataset as ds

        table = open_uri(self._uri, self._storage_options, partition.version)
        batch = ds.field("ingest_batch")
        inside = (batch > partition.after) & (batch <= partition.through)
        rows = table.to_pyarrow_dataset().to_table(columns=_SCHEMA.names, filter=inside)
        ordered = rows.append_column("_length", pc.utf8_length(rows["sequence_number"])).sort_by(
            [(name, "ascending") for name in _ORDER]
        )
        schema = pa.schema([*_SCHEMA, *self._splitter.fields, *((name, pa.int64()) for name in _COUNTS)])
        events: Counter[int] = Counter()
        for records in _chunks(ordered.select(_SCHEMA.names)):
            for split in self._splitter.events(records):
                events.update(split["ingest_batch"].to_pylist())
                yield _conform(split, schema)
        yield _conform(_markers(rows, events), schema)

    def _newest(self) -> int:
        return position(self._snapshot(), INGEST_APP)

    def _snapshot(self) -> DeltaTable:
        if self._table is None:
            self._table = open_uri(self._uri, self._storage_options)
        else:
            self._table.update_incremental()
        return self._table

    def _within(self, after: int, newest: int) -> int:
        """The last ingest_batch that keeps the batch within the limits, and at least the next one."""
        files = active_files(self._snapshot())
        files = files.filter(pc.greater(files["max.ingest_batch"], after)).sort_by("min.ingest_batch")
        rows = size = 0
        through: int = after
        for file in files.select(["num_records", "min.ingest_batch", "max.ingest_batch", _MAX_BYTES]).to_pylist():
            low, high = file["min.ingest_batch"], file["max.ingest_batch"]
            # A compacted file holds many ingest_batches. Of one from before the sizes were noted, nothing is known.
            known = file[_MAX_BYTES]
            held = self._max_bytes + 1 if known is None else (high - low + 1) * known
            rows, size = rows + file["num_records"], size + held
            over = rows > self._max_records or size > self._max_bytes
            if over and through > after:
                return through
            # Too large by itself: go batch by batch then.
            alone = file["num_records"] > self._max_records or held > self._max_bytes
            through = max(through, low if alone else high)
            if over:
                return max(through, after + 1)
        return newest


def _chunks(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    size = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES * rows.num_rows // max(1, rows.nbytes)))
    yield from rows.combine_chunks().to_batches(max_chunksize=size)


def _markers(rows: pa.Table, events: Mapping[int, int]) -> pa.RecordBatch:
    """One row an ingest_batch, with the numbers of its records and of its events."""
    counted = rows.group_by(["ingest_batch", "segment", "ingest_time", "ingest_date"]).aggregate([([], "count_all")])
    numbers = pa.array([events[number] for number in counted["ingest_batch"].to_pylist()], pa.int64())
    columns = {**{name: counted[name] for name in counted.column_names}, "_records": counted["count_all"]}
    table = pa.table({**columns, "_events": numbers}).drop_columns(["count_all"]).combine_chunks()
    [batch] = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    return batch


def _conform(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The rows in a schema's columns; those that they lack are null."""
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
