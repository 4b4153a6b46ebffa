"""Statistics in the log are exact for every reader, or absent: a bound that is rounded hides rows."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from layers import make_tables
from sample_pipeline import make_pipeline

from tidemark.core.settings import Settings
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.files.staged import STAGED_FOLDER, staged_files
from tidemark.lake.snapshots import active_files, open_table, position
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import REFINE_APP

WIDE = make_pipeline(
    schema="id STRING, shop STRING, amount DECIMAL(15,2), wide DECIMAL(16,2), born DATE, at TIMESTAMP", rollups=[]
)
ROW = {
    "id": "a",
    "shop": "b",
    "amount": Decimal("1234567890123.45"),
    "wide": Decimal("12345678901234.56"),
    "born": date(1, 1, 1),
    "at": datetime(999, 1, 1, 1, 2, 3, tzinfo=UTC),
    "ingest_batch": 0,
    "segment": 0,
    "event_date": date(999, 1, 1),
}


def stated(table: Table) -> list[dict[str, Any]]:
    """The statistics of all files that a table's log has added."""
    logs = sorted(Path(table.uri, "_delta_log").glob("*.json"))
    actions = [orjson.loads(line) for log in logs for line in log.read_bytes().splitlines()]
    return [orjson.loads(action["add"]["stats"]) for action in actions if "add" in action]


def written(settings: Settings) -> Table:
    make_tables(WIDE, settings)
    silver = tables_of(WIDE, settings).silver
    for batch in range(2):
        rows = pa.Table.from_pylist([{**ROW, "ingest_batch": batch}], schema=silver.schema)
        IdempotentWriter(silver, settings).append(rows, batch)
    return silver


def test_bounds_of_decimals_are_exact_or_absent_also_after_compaction(settings: Settings) -> None:
    silver = written(settings)
    open_table(silver, settings).optimize.compact()
    files = stated(silver)
    assert len(files) == 3
    for bounds in (file[kind] for file in files for kind in ("minValues", "maxValues")):
        assert "wide" not in bounds
        assert Decimal(str(bounds["amount"])) == ROW["amount"]
        assert bounds["born"] == "0001-01-01"
        assert re.match("0999-01-01T01:02:03", bounds["at"])


def test_a_table_of_before_states_no_rounded_bounds_from_the_next_start_on(settings: Settings) -> None:
    silver = written(settings)
    snapshot = open_table(silver, settings)
    snapshot.alter.set_table_properties({"delta.dataSkippingStatsColumns": "id,wide"})
    make_tables(WIDE, settings)
    rows = pa.Table.from_pylist([{**ROW, "ingest_batch": 2}], schema=silver.schema)
    IdempotentWriter(silver, settings).append(rows, 2)
    assert stated(silver)[-1]["minValues"].keys() == {"id", "shop", "amount", "born", "at", "ingest_batch"}


def test_staged_files_state_old_years_in_four_digits_and_nothing_of_impossible_ones(settings: Settings) -> None:
    silver = written(settings)
    folder = Path(silver.uri, STAGED_FOLDER, "x", "event_date=0999-01-01", "segment=0")
    folder.mkdir(parents=True)
    impossible = pa.array([6_581_000], pa.date32())
    rows = pa.Table.from_pylist([ROW], schema=silver.schema).drop_columns(["event_date", "segment"])
    pq.write_table(rows, folder / "old.parquet")
    pq.write_table(rows.set_column(rows.column_names.index("born"), "born", impossible), folder / "odd.parquet")
    odd, old = sorted(staged_files(silver, f"{STAGED_FOLDER}/x", settings), key=lambda file: file.path)
    for file in (odd, old):
        assert orjson.loads(file.stats)["maxValues"]["at"] == "0999-01-01T01:02:03.000000Z"
    assert orjson.loads(old.stats)["minValues"]["born"] == "0001-01-01"
    assert "born" not in orjson.loads(odd.stats)["minValues"]


def test_an_append_to_many_dates_is_one_commit_that_says_the_same_of_its_files(settings: Settings) -> None:
    make_tables(WIDE, settings)
    silver = tables_of(WIDE, settings).silver
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(300)]
    rows = [{**ROW, "id": f"{n}", "event_date": day, "segment": n % 2} for n in range(3) for day in days]
    writer = IdempotentWriter(silver, settings)
    assert writer.append(pa.Table.from_pylist(rows[:10], schema=silver.schema), 0)
    assert writer.append(pa.Table.from_pylist(rows, schema=silver.schema), 1)
    assert not writer.append(pa.Table.from_pylist(rows, schema=silver.schema), 1)
    snapshot = open_table(silver, settings)
    assert (snapshot.version(), position(snapshot, REFINE_APP)) == (2, 1)
    read = snapshot.to_pyarrow_dataset().to_table().to_pylist()
    wanted = pa.Table.from_pylist([*rows[:10], *rows], schema=silver.schema).to_pylist()
    assert sorted(map(str, read)) == sorted(map(str, wanted))
    few, many = stated(silver)[0], stated(silver)[-1]
    assert few["minValues"].keys() - many["minValues"].keys() == {"id", "shop", "amount"}, "text and decimals have none"
    assert many["minValues"]["at"] == "0999-01-01T01:02:03.000000Z"
    files = active_files(snapshot)
    assert files["max.ingest_batch"].to_pylist() == [0] * files.num_rows
    assert len(set(files["partition.event_date"].to_pylist())) == 300
