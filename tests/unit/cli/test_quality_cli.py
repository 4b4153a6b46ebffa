"""What the commands about quality print, from tables as the streams and the batch leave them."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from tidemark.cli import app
from tidemark.core.settings import get_settings
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Tables, tables_of
from tidemark.monitoring.check_results import ExpectationResult, record
from tidemark.pipelines.flights import flights

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = b'{"carrier": "UA", "flight": 1, "origin": "EWR", "distance": 30000}'


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    monkeypatch.setenv("TIDEMARK_LAKE_URI", str(tmp_path / "lake"))
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()
    found = tables_of(flights, get_settings())
    create_tables(found, get_settings())
    yield found
    get_settings.cache_clear()


@pytest.fixture
def run() -> Callable[..., str]:
    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        if done.exception:
            raise done.exception
        return done.stdout

    return invoke


def quarantine(tables: Tables, *rows: tuple[bytes, list[str]]) -> None:
    made = [
        {"data": data, "reasons": reasons, "shard_id": "shardId-0", "sequence_number": str(n), "ingest_batch": n,
         "segment": 0, "ingest_time": NOW, "ingest_date": NOW.date()}
        for n, (data, reasons) in enumerate(rows)
    ]  # fmt: skip
    table = tables.quarantine
    write_deltalake(open_table(table, get_settings()), pa.Table.from_pylist(made, schema=table.schema), mode="append")


def test_quarantine_is_listed_and_explained(tables: Tables, run: Callable[..., str]) -> None:
    far = "expectation:expect_column_values_to_be_between(distance)"
    rows = [
        (FAR, [far]),
        (b"\xff\xfe", ["not_utf8"]),
        (FAR, [far, "missing:scheduled_departure", "expectation:gone(x)"]),
    ]
    quarantine(tables, *rows)
    listed = orjson.loads(run("quarantine", "list", "flights", "--json"))
    assert [(row["reason"], row["rows"]) for row in listed] == [
        (far, 2), ("expectation:gone(x)", 1), ("missing:scheduled_departure", 1), ("not_utf8", 1),
    ]  # fmt: skip
    assert "not_utf8" in run("quarantine", "list", "flights")
    told = run("quarantine", "explain", "flights", "--reason", far, "--limit", "1")
    assert "ingest_batch 2, shardId-0, sequence number 2" in told
    assert FAR.decode() in told
    for part in ("min_value=1, max_value=20000", "distance = 30000", "required, and absent or null (TIMESTAMP)",
                 "the suite has no such expectation now"):  # fmt: skip
        assert part in told
    assert "bytes that are no UTF-8: fffe" in run("quarantine", "explain", "flights", "--reason", "not_utf8")
    assert "(no rows)" in run("quarantine", "explain", "flights", "--reason", "none such")


def test_the_newest_validation_is_shown(tables: Tables, run: Callable[..., str]) -> None:
    results = [
        ExpectationResult("expect_a", True, "5", 0, "critical"),
        ExpectationResult("expect_b", False, "[7]", 1, "warning", ({"flight": 7},)),
        ExpectationResult("expect_c", None, "not checked: expected_rows has no value", 0, "warning"),
    ]
    record(tables, get_settings(), results, date(2013, 1, 1), date(2013, 1, 2), "published")
    shown = run("quality", "show", "flights")
    assert "flights.silver [2013-01-01, 2013-01-02), published" in shown
    for word in ("passed", "FAILED", "skipped", '[{"flight":7}]', "expected_rows has no value"):
        assert word in shown
    rows: list[dict[str, Any]] = orjson.loads(run("quality", "show", "flights", "--stage", "published", "--json"))
    assert [row["success"] for row in rows] == [True, False, None]
    with pytest.raises(Exception, match="--stage is one of staged slice, published, not 'other'"):
        run("quality", "show", "flights", "--stage", "other")
