"""What the tables' own logs say of a table or a serving view: for the events of Airflow's assets, and for people."""

from datetime import date
from typing import Any

import pyarrow.compute as pc

from tidemark.core.days import days_between
from tidemark.core.errors import DisagreementError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.publish import coverage
from tidemark.lake.snapshots import NOTHING, active_files, open_table, position
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import BATCH_APP
from tidemark.serving import pin


def table_metadata(table: Table, settings: Settings) -> dict[str, Any]:
    """Position in the log, version, rows, files and bytes of a table.

    Raises:
        TableError: there is no such table yet.
    """
    snapshot = open_table(table, settings)
    files = active_files(snapshot)
    facts: dict[str, Any] = {
        "position": position(snapshot, table.app_id or BATCH_APP),
        "version": snapshot.version(),
        "rows": int(pc.sum(files["num_records"]).as_py() or 0),
        "files": files.num_rows,
        "bytes": int(pc.sum(files["size_bytes"]).as_py() or 0),
    }
    newest = pc.max(files["max.ingest_time"]).as_py()
    return facts if newest is None else {**facts, "newest_ingest": newest.isoformat()}


def batch_facts(pipeline: Pipeline, settings: Settings, start: date, end: date, segment: int) -> dict[str, Any]:
    """Facts of each batch table by name, with the segment through which it covers the dates ``[start, end)``.

    A date without events is not published, and so is not covered.

    Raises:
        DisagreementError: a date is not covered as far as the reprocess said that it published.
    """
    found = {}
    tables = tables_of(pipeline, settings)
    files = active_files(open_table(tables.silver, settings))
    held = set(files.filter(pc.less_equal(files["partition.segment"], segment))["partition.event_date"].to_pylist())
    for table in tables.batch.values():
        snapshot = open_table(table, settings)
        reached = {day: coverage(snapshot, day) for day in days_between(start, end)}
        covered = {day: at for day, at in reached.items() if day in held or at != NOTHING}
        if behind := [f"{day} through segment {at}" for day, at in covered.items() if at < segment]:
            raise DisagreementError(
                f"{table.name} covers {', '.join(behind)}, and the reprocess published through {segment}: somebody has "
                "restored or rewritten the table; run the reprocess again"
            )
        found[table.name] = {
            **table_metadata(table, settings),
            "covered_segment": min(covered.values(), default=segment),
        }
    return found


def serving_facts(pipeline: Pipeline, settings: Settings) -> dict[str, dict[str, Any]]:
    """Of each serving view by its rollup's name: the position that it answers at, and the newest event in it."""
    found = {}
    for rollup in pipeline.rollups:
        snapshot = pin(pipeline, rollup, settings)
        newest = [
            pc.max(active_files(table)["max.max_event_time"]).as_py() for table in (snapshot.batch, snapshot.speed)
        ]
        event = max(filter(None, newest), default=None)
        found[rollup.name] = {
            "position": snapshot.position,
            "newest_event": None if event is None else event.isoformat(),
        }
    return found
