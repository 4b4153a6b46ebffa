"""The tables of a pipeline: names, places, schemas and partitions. The contract that every layer writes to.

Grain and invariants are those of the design: ``ingest_batch`` is the position in the log, ``segment`` a sealed stretch
of it, and each table's Delta log says through transaction identifiers how far that table has come.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from tidemark.core import columns
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP

if TYPE_CHECKING:  # what each Python worker of Spark imports is a part of the start of each query
    from tidemark.core.settings import Settings
    from tidemark.definition import Pipeline, Rollup

TIMESTAMP = columns.TIMESTAMP
KINESIS_COLUMNS = tuple(name for name, _ in columns.KINESIS)
"""What the Kinesis source gives."""
BRONZE_SCHEMA = pa.schema(columns.BRONZE)
QUARANTINE_SCHEMA = pa.schema(columns.QUARANTINE)
REFINE_LOG_SCHEMA = pa.schema(
    [
        *columns.COORDINATE,
        ("records", pa.int64()),
        ("silver", pa.int64()),
        ("quarantined", pa.int64()),
        ("duplicates", pa.int64()),
        ("ingest_time", TIMESTAMP),
        ("refine_time", TIMESTAMP),
        ("warnings", pa.list_(pa.struct([("expectation", pa.string()), ("rows", pa.int64())]))),
        ("events", pa.int64()),
        ("event_dates", pa.list_(pa.date32())),
    ]
)
"""One row an ingest_batch: the account of what became of its records.

``records`` are Kinesis records, and ``events`` what they hold: one each, unless the definition splits them; a record
that cannot be split counts as one. ``events`` is the sum of ``silver``, ``quarantined`` and ``duplicates``; null: it is
``records``.
``warnings``: of the rows that went to silver, how many broke each expectation whose action is ``warn``; null: none did.
``event_dates``: the dates of all its events that have one, copies and quarantined ones included, without repetition;
null: not known, as the row was written before this was kept. This is the index by which a reprocess finds what to read.
"""
GENERATIONS_SCHEMA = pa.schema(
    [
        ("generation", pa.int64()),
        ("after_ingest_batch", pa.int64()),
        ("fingerprint", pa.string()),
        ("definition", pa.string()),
        ("since", TIMESTAMP),
        ("added", pa.string()),
    ]
)
"""One row a definition of events that the refine stream ran with, in order (``tidemark.lake.generations``)."""
VALIDATIONS_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("validated_at", TIMESTAMP),
        ("table", pa.string()),
        ("stage", pa.string()),
        ("from_date", pa.date32()),
        ("to_date", pa.date32()),
        ("expectation", pa.string()),
        ("asks", pa.string()),
        ("severity", pa.string()),
        ("success", pa.bool_()),
        ("observed", pa.string()),
        ("unexpected", pa.int64()),
        ("samples", pa.string()),
    ]
)
"""One row an expectation and run of the suite (``tidemark.monitoring.check_results``); ``to_date`` is exclusive."""


def silver_schema(pipeline: "Pipeline") -> pa.Schema:
    """The definition's columns, where each row came from, and its coordinate. Grain: one row an event."""
    return pa.schema([*((column.name, column.type.arrow) for column in pipeline.event_schema), *columns.SILVER])


def _partial_fields(pipeline: "Pipeline", rollup: "Rollup") -> list[tuple[str, pa.DataType]]:
    return [
        *((name, pipeline.column_type(name).arrow) for name in rollup.by),
        *columns.PANE,
        *((state.column, state.type.arrow) for state in rollup.states(pipeline.event_schema)),
        *columns.PARTIAL,
    ]


def speed_schema(pipeline: "Pipeline", rollup: "Rollup") -> pa.Schema:
    """Partial aggregates of micro-batches. Grain: one row a key, pane and micro-batch; ingest_batch is its highest."""
    return pa.schema([*_partial_fields(pipeline, rollup), *columns.SPEED])


def batch_schema(pipeline: "Pipeline", rollup: "Rollup") -> pa.Schema:
    """Partial aggregates recomputed from bronze. Grain: one row a key, pane and event date.

    Each covered date has one marker row beside, with a null pane_start, so that its coverage shows also where no event
    is left. Where a window is one row, values that cost more to finish than to read are kept beside their states.
    """
    stored = [(kept.column, kept.type.arrow) for kept in rollup.stored(pipeline.timezone).values()]
    return pa.schema([*_partial_fields(pipeline, rollup), *columns.COVERED, *stored, *columns.EVENT_DATE])


class Table(NamedTuple):
    """One Delta table: its short name, where it is, its schema and partition columns, and its position's app id.

    ``cluster_by``: the columns along whose Z-order curve compaction lays its large partitions out.
    """

    name: str
    uri: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    app_id: str | None
    cluster_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tables:
    """All tables of a pipeline."""

    bronze: Table
    silver: Table
    quarantine: Table
    refine_log: Table
    generations: Table
    validations: Table
    speed: dict[str, Table]
    batch: dict[str, Table]

    def __iter__(self) -> Iterator[Table]:
        yield from (
            self.bronze,
            self.silver,
            self.quarantine,
            self.refine_log,
            self.generations,
            self.validations,
            *self.speed.values(),
            *self.batch.values(),
        )

    @property
    def refined(self) -> tuple[Table, ...]:
        """The tables that the refine stream appends to; silver last, as it is committed last."""
        return (self.quarantine, self.refine_log, *self.speed.values(), self.silver)


def tables_of(pipeline: "Pipeline", settings: "Settings") -> Tables:
    """The tables of a pipeline, below ``settings.lake_uri``; nothing is created or read."""

    def table(name: str, schema: pa.Schema, partition_by: tuple[str, ...], app_id: str | None) -> Table:
        return Table(name, f"{settings.lake_uri.rstrip('/')}/{pipeline.name}/{name}", schema, partition_by, app_id)

    by_event = ("event_date", "segment")
    by_ingest = ("ingest_date", "segment")
    silver = table("silver", silver_schema(pipeline), by_event, REFINE_APP)
    return Tables(
        bronze=table("bronze", BRONZE_SCHEMA, ("ingest_date",), INGEST_APP),
        silver=silver._replace(cluster_by=tuple(pipeline.cluster_by)),
        quarantine=table("quarantine", QUARANTINE_SCHEMA, by_ingest, REFINE_APP),
        refine_log=table("refine_log", REFINE_LOG_SCHEMA, (), REFINE_APP),
        generations=table("generations", GENERATIONS_SCHEMA, (), None),
        validations=table("validations", VALIDATIONS_SCHEMA, (), None),
        speed={
            r.name: table(f"speed_{r.name}", speed_schema(pipeline, r), by_event, REFINE_APP) for r in pipeline.rollups
        },
        batch={
            r.name: table(f"batch_{r.name}", batch_schema(pipeline, r), ("event_date",), None) for r in pipeline.rollups
        },
    )
