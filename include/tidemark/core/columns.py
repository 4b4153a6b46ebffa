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

MEANINGS = {
    "data": "The record's bytes, as they came. In quarantine, of a record that was split: the event's.",
    "partition_key": "The partition key that the producer gave the record.",
    "stream": "The Kinesis stream of the record.",
    "shard_id": "The shard of the record.",
    "sequence_number": "The record's sequence number in its shard.",
    "sub_sequence_number": "The record's place in a KPL aggregate; 0 without one.",
    "approximate_arrival_timestamp": "When Kinesis took the record, UTC.",
    "event_ordinal": "Which event of its record the row is, from 0. Null: the definition's records is object, or the "
    "record could not be split.",
    "ingest_batch": "The position in the log at which the record was written to bronze, from 0. A partial aggregate "
    "has the highest of its events, a row that states coverage the last one that is covered.",
    "segment": "The stretch of the log in which the record came. A row that was rewritten has a later one: that "
    "through which the reprocess covers, or the highest of the rows that folding merged.",
    "ingest_batch_bytes": "Bytes of data of all records of the ingest_batch, where records are split at least 320 an "
    "event; refine bounds its memory by them.",
    "ingest_time": "When the record was written to bronze, UTC. It never goes back along the log.",
    "ingest_date": "The date of ingest_time.",
    "reasons": "Why the row is not an event: what did not parse, and the expectations that it breaks.",
    "event_date": "The date of the event time in the pipeline's time zone.",
    "pane_start": "Start of the pane, UTC; of a session, its first event time here. Null, in batch tables: the row "
    "states the coverage of its event date.",
    "max_event_time": "The highest event time of the events in the row.",
    "max_arrival_time": "The latest time at which Kinesis took one of them.",
    "covered_segment": "The segment through which the batch table holds all events of the event date.",
    "records": "Records of the ingest_batch; of a KPL aggregate each user record counts.",
    "events": "Events that these records hold. Null: as many as records.",
    "silver": "Events that went to silver when refine passed.",
    "quarantined": "Events that went to quarantine then.",
    "duplicates": "Events that were there already, and were left out.",
    "refine_time": "When refine processed the ingest_batch, UTC.",
    "warnings": "Of the rows that went to silver: how many broke each expectation whose action is warn. Null: none "
    "did.",
    "event_dates": "Event dates of all its events, duplicates and quarantined ones too. Null: not known.",
    "generation": "Number of the version of the definition, from 0.",
    "after_ingest_batch": "The last ingest_batch before it was in force; -1: from the start.",
    "fingerprint": "Hash of what follows.",
    "definition": "What the definition says of events and rollups, the suite's rules that quarantine, and the version "
    "of the parser, as JSON.",
    "since": "When the streams began with it, UTC.",
    "added": "Measures that it added to existing rollups, with the segment and the dates that lack them, as JSON.",
    "run": "Identifies one run of the suite.",
    "validated_at": "When the suite ran, UTC.",
    "table": "The table whose rows were checked.",
    "stage": "What was checked: the staged slice of a reprocess, or the table as published.",
    "from_date": "First event date of the slice. Null: no limit.",
    "to_date": "The event date after the last one of the slice. Null: no limit.",
    "expectation": "The expectation, with the columns that it is about.",
    "asks": "What it asks for.",
    "severity": "critical, warning or info: the suite's; where the action is warn, warning; where it is fail, "
    "critical.",
    "success": "Whether it held; false where it could not be evaluated. Null: a parameter had no value.",
    "observed": "The value that was observed, or why there is none.",
    "unexpected": "How many rows broke it.",
    "samples": "Some of these rows, as JSON.",
}
"""What each column holds, but those of a definition and states of measures; docs/data-dictionary.md shows it."""
