"""The index of the log, written anew where another definition gave the dates: part of a reprocess of everything."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from tidemark.core.settings import Settings
from tidemark.lake.files.data_files import file_system, write_file
from tidemark.lake.log import Interval
from tidemark.lake.publish import replace_files
from tidemark.lake.scan_ranges import condition
from tidemark.lake.snapshots import active_files, open_table
from tidemark.lake.tables import Table
from tidemark.lake.transaction_ids import DATED_APP


def date_anew(
    parsed: DataFrame, otherwise: list[Interval], refine_log: Table, generation: int, settings: Settings
) -> bool:
    """Give the ingest_batches ``otherwise`` the dates of their events by this definition; False if it was not done.

    ``parsed``: all events of the log, as the definition reads them, copies and quarantined ones included. From then on
    a reprocess of some dates reads what holds events of them, and not all of the log. Compaction may rewrite the same
    files meanwhile: the index stays unknown then, and the next reprocess of everything comes here again.
    """
    snapshot = open_table(refine_log, settings)
    last = max(interval.high for interval in otherwise)

    def is_older(file: Mapping[str, Any]) -> bool:
        return file["min.ingest_batch"] is None or file["min.ingest_batch"] <= last

    paths = [file["path"] for file in active_files(snapshot).to_pylist() if is_older(file)]
    dates = (
        parsed.where(F.expr(condition(otherwise)) & F.col("event_date").isNotNull())
        .groupBy("ingest_batch")
        .agg(F.array_sort(F.collect_set("event_date")).alias("dates"))
        .toArrow()
    )
    found = dict(zip(dates["ingest_batch"].to_pylist(), dates["dates"].to_pylist(), strict=True))
    # Older files lack columns that came later: the schema gives their nulls.
    held = ds.dataset(paths, schema=refine_log.schema, format="parquet", filesystem=file_system(snapshot)).to_table()
    rows = [
        {**row, "event_dates": found.get(row["ingest_batch"], [])} if _is_in(row["ingest_batch"], otherwise) else row
        for row in held.to_pylist()
    ]
    staged = write_file(snapshot, pa.Table.from_pylist(rows, schema=refine_log.schema))
    return replace_files(refine_log, [staged], is_older, paths, settings, versions={DATED_APP: generation})


def _is_in(number: int, intervals: list[Interval]) -> bool:
    return any(low <= number <= high for low, high in intervals)
