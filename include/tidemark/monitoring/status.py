"""Where each table of a pipeline stands in the log."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from tidemark.core.errors import TableError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.lake.snapshots import NOTHING, open_table, position
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import BATCH_APP, SEALED_APP


class TableStatus(BaseModel):
    """One table: its position in the log (-1: nothing yet), how many ingest_batches it lags behind bronze, its size."""

    pipeline: str
    table: str
    position: int
    lag_batches: int
    sealed_segment: int | None
    rows: int
    files: int
    size_bytes: int
    version: int
    committed: datetime | None


def pipeline_status(pipeline: Pipeline, settings: Settings) -> list[TableStatus]:
    """The status of every table; empty when the pipeline's tables do not exist yet."""
    tables = tables_of(pipeline, settings)
    found: list[TableStatus] = []
    for table in tables:
        if table in (tables.generations, tables.validations):  # lists, which have no place in the log
            continue
        try:
            found.append(_table_status(pipeline, table, settings, found[0].position if found else None))
        except TableError:
            return []
    return found


def _table_status(pipeline: Pipeline, table: Table, settings: Settings, head: int | None) -> TableStatus:
    snapshot = open_table(table, settings)
    actions = pa.table(snapshot.get_add_actions(flatten=True))
    at = position(snapshot, table.app_id or BATCH_APP)
    sealed = position(snapshot, SEALED_APP)
    last = snapshot.history(1)
    return TableStatus(
        pipeline=pipeline.name,
        table=table.name,
        position=at,
        lag_batches=0 if head is None else head - at,
        sealed_segment=None if sealed == NOTHING else sealed,
        rows=pc.sum(actions["num_records"]).as_py() or 0,
        files=actions.num_rows,
        size_bytes=pc.sum(actions["size_bytes"]).as_py() or 0,
        version=snapshot.version(),
        committed=datetime.fromtimestamp(last[0]["timestamp"] / 1000, UTC) if last else None,
    )
