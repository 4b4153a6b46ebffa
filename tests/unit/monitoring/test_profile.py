"""The suite that is proposed from data: silver's rows fulfil it, and nothing is overwritten unasked."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from sample_pipeline import make_pipeline
from typer.testing import CliRunner

from tidemark.cli import app
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings, get_settings
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.monitoring.profiler import propose_suite
from tidemark.quality.suite import parse_suite

PIPELINE = make_pipeline()
ROWS = [
    {
        "id": f"visit-{n}",
        "shop": "ab"[n % 2] if n % 10 else None,
        "amount": Decimal(n) / 4,
        "open": n % 3 == 0,
        "weight": float("nan") if n == 7 else n * 0.37 - 5,
        "at": datetime(2026, 1, 1 + n % 3, 12, tzinfo=UTC),
        "segment": 0,
        "ingest_batch": n,
        "event_date": date(2026, 1, 1 + n % 3),
    }
    for n in range(90)
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(lake_uri=str(tmp_path / "lake"), project_dir=tmp_path)
    create_tables(tables_of(PIPELINE, made), made)
    return made


@pytest.fixture
def filled(settings: Settings) -> Settings:
    table = tables_of(PIPELINE, settings).silver
    write_deltalake(open_table(table, settings), pa.Table.from_pylist(ROWS, schema=table.schema), mode="append")
    return settings


def by_type(suite: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["type"], one["kwargs"].get("column", "")): one for one in suite["expectations"]}


def test_silver_fulfils_every_row_rule_of_the_suite_that_is_proposed_from_it(filled: Settings, tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_bytes(orjson.dumps(propose_suite(PIPELINE, filled)))
    suite = parse_suite(tmp_path / "suite.json", PIPELINE)
    assert {rule.action for rule in suite.rules} == {"warn"}
    finite = pa.Table.from_pylist([row for row in ROWS if row["weight"] == row["weight"]])
    with duckdb.connect() as connection:
        connection.register("silver", finite)
        for rule in suite.rules:
            text = re.sub(r"(\d)D\b", r"\1", rule.broken.replace("`", '"'))
            assert connection.sql(f"SELECT count(*) FROM silver WHERE {text}").fetchall() == [(0,)], rule


def test_what_is_proposed_of_nulls_ranges_sets_and_lengths(filled: Settings) -> None:
    found = by_type(propose_suite(PIPELINE, filled))
    assert found["expect_column_values_to_be_in_set", "shop"]["kwargs"]["value_set"] == ["a", "b"]
    assert found["expect_column_values_to_not_be_null", "shop"]["kwargs"]["mostly"] == 0.81
    assert "mostly" not in found["expect_column_values_to_not_be_null", "id"]["kwargs"]
    amounts = found["expect_column_values_to_be_between", "amount"]["kwargs"]
    assert (amounts["min_value"], amounts["max_value"]) == (0.0, 24.5)
    assert found["expect_column_value_lengths_to_be_between", "id"]["kwargs"]["max_value"] == 9
    assert found["expect_column_mean_to_be_between", "weight"]["severity"] == "warning"
    assert ("expect_column_values_to_be_unique", "id") in found


def test_a_range_of_dates_is_profiled_alone_and_no_rows_are_an_error(filled: Settings) -> None:
    few = by_type(propose_suite(PIPELINE, filled, start=date(2026, 1, 2), end=date(2026, 1, 3), margin=0))
    assert few["expect_column_values_to_be_between", "amount"]["kwargs"]["min_value"] == 0.25
    with pytest.raises(TidemarkError, match="holds no rows of these dates"):
        propose_suite(PIPELINE, filled, start=date(2027, 1, 1))


@pytest.fixture
def flights_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from tidemark.pipelines.flights import flights

    monkeypatch.setenv("TIDEMARK_LAKE_URI", str(tmp_path / "lake"))
    get_settings.cache_clear()
    tables = tables_of(flights, get_settings())
    create_tables(tables, get_settings())
    at = datetime(2013, 1, 1, 5, tzinfo=UTC)
    row = {
        "carrier": "UA",
        "flight": 1,
        "origin": "EWR",
        "scheduled_departure": at,
        "event_date": at.date(),
        "segment": 0,
    }
    rows = pa.Table.from_pylist([row], schema=tables.silver.schema)
    write_deltalake(open_table(tables.silver, get_settings()), rows, mode="append")
    yield tmp_path
    get_settings.cache_clear()


def test_a_proposal_is_printed_or_written_and_replaces_no_file_unasked(flights_lake: Path) -> None:
    run = CliRunner().invoke
    printed = run(app, ["quality", "profile", "flights"])
    assert orjson.loads(printed.stdout)["name"] == "flights"
    target = flights_lake / "new" / "flights.json"
    written = run(app, ["quality", "profile", "flights", "--output", str(target)])
    assert "expectations proposed in" in written.stdout
    assert target.read_text() == printed.stdout
    target.write_text("mine")
    refused = run(app, ["quality", "profile", "flights", "--output", str(target)])
    assert "say --force to replace it" in str(refused.exception)
    assert target.read_text() == "mine"
    assert run(app, ["quality", "profile", "flights", "--output", str(target), "--force"]).exit_code == 0
    assert "is a date like" in str(run(app, ["quality", "profile", "flights", "--from", "soon"]).exception)
    assert "nothing of flights was validated yet" in str(run(app, ["quality", "show", "flights"]).exception)
    rules = orjson.loads(run(app, ["quality", "rules", "flights", "--json"]).stdout)
    assert {row["checked by"] for row in rules} == {"stream and batch", "batch only"}
    assert orjson.loads(run(app, ["quarantine", "list", "flights", "--json"]).stdout) == []
