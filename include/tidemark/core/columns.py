"""The columns that Tidemark adds by itself: of each kind of table, and which names a definition cannot use therefore.

Columns that exist only while rows are worked on begin with an underscore, which no name of a definition does.
"""

from collections.abc import Iterable

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
Fields = list[tuple[str, pa.DataType]]

LINEAGE: Fields = [
    ("stream", pa.string()),
    ("shard_id", pa.string()),
    ("sequence_number", pa.string()),
    ("sub_sequence_number", pa.int64()),
    ("approximate_arrival_timestamp", TIMESTAMP),
]
"""Where a record came from, as the Kinesis source says."""
KINESIS: Fields = [("data", pa.binary()), ("partition_key", pa.string()), *LINEAGE]
"""What the Kinesis source gives."""
COORDINATE: Fields = [("ingest_batch", pa.int64()), ("segment", pa.int64())]
INGEST: Fields = [("ingest_time", TIMESTAMP), ("ingest_date", pa.date32())]
ORDINAL: Fields = [("event_ordinal", pa.int64())]
"""Which event of its record a row is, from 0; null where the record as a whole is one, or could not be split."""
EVENT_DATE: Fields = [("event_date", pa.date32())]

BATCH_BYTES = "ingest_batch_bytes"
BRONZE: Fields = [*KINESIS, *COORDINATE, (BATCH_BYTES, pa.int64()), *INGEST]
"""``ingest_batch_bytes``: the bytes of data of all records of the row's ingest_batch, or more where they hold many
small events (``tidemark.core.documents.sizes_of``); refine bounds its memory by them.

Its bounds in the log tell what a file holds in memory, which the size of the file, being compressed, does not.
"""
QUARANTINE: Fields = [*KINESIS, *ORDINAL, ("reasons", pa.list_(pa.string())), *COORDINATE, *INGEST]
SILVER: Fields = [*LINEAGE, *ORDINAL, *COORDINATE, *EVENT_DATE]
"""Of silver, behind the definition's own columns."""
PANE: Fields = [("pane_start", TIMESTAMP)]
PARTIAL: Fields = [("max_event_time", TIMESTAMP), ("max_arrival_time", TIMESTAMP), ("ingest_batch", pa.int64())]
"""Of speed and batch tables, behind the states."""
SPEED: Fields = [("segment", pa.int64()), *EVENT_DATE]
COVERED: Fields = [("covered_segment", pa.int64())]
SERVED = ("window_start", "window_end", "final", "newest_event", "newest_arrival")
"""Of serving views, beside keys and measures."""


def _names(*groups: Iterable[tuple[str, pa.DataType]]) -> frozenset[str]:
    return frozenset(name for group in groups for name, _ in group)


RESERVED_FOR_MEASURES = _names(PANE, PARTIAL, SPEED, COVERED).union(SERVED)
"""Names that no measure may have: they stand beside the measures in a serving view, or beside their states."""
RESERVED_FOR_EVENTS = _names(BRONZE, QUARANTINE, SILVER) | RESERVED_FOR_MEASURES
"""Names that no column of an event may have: it stands beside its record's columns, and may be a key of a rollup."""
