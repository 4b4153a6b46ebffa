"""An analyst's program, with the reading side alone: makes a small lake, and reads a serving view of it as JSON.

The batch covers a date through segment 0. The speed table has a row that the batch holds too, and one that came later.
"""

import json
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from tidemark.core.settings import get_settings
from tidemark.lake.commits import set_transactions
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import BATCH_APP, COVERAGE_APP, REFINE_APP, covered_app
from tidemark.pipelines import get_pipeline
from tidemark.serving import pin, query

DAY, MIDNIGHT = date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)
settings, taxis = get_settings(), get_pipeline("taxis")
tables = {table.name: table for table in tables_of(taxis, settings)}
create_tables(list(tables.values()), settings)


def add(name: str, rides: int, fares: str, **position: Any) -> None:
    """Append a partial aggregate."""
    row = {"zone": "a", "rides__count": rides, "fares__sum": Decimal(fares), "pane_start": MIDNIGHT, "event_date": DAY}
    times = {"max_event_time": MIDNIGHT, "max_arrival_time": MIDNIGHT}
    rows = pa.Table.from_pylist([{**row, **times, **position}], schema=tables[name].schema)
    write_deltalake(tables[name].uri, rows, mode="append")


add("batch_daily", 5, "50.00", ingest_batch=1, covered_segment=0)
set_transactions(open_table(tables["batch_daily"], settings), {covered_app(DAY): 0, COVERAGE_APP: 1, BATCH_APP: 1})
add("speed_daily", 5, "50.00", ingest_batch=1, segment=0)
add("speed_daily", 2, "7.50", ingest_batch=2, segment=1)
set_transactions(open_table(tables["speed_daily"], settings), {REFINE_APP: 2})
rows = query(pin(taxis, taxis.rollups[0], settings)).select(["zone", "rides", "fares"]).to_pylist()
print(json.dumps({"rows": rows, "heavy": sorted({"airflow", "boto3", "pyspark"} & sys.modules.keys())}, default=str))
