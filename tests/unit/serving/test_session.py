"""The SQL session: what can be read is read, and what cannot be read says why, whoever else asks for what."""

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from sample_pipeline import VISITS, make_pipeline, make_rollup

from tidemark.core.settings import Settings
from tidemark.lake.commits import set_transactions
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import BEGUN_APP
from tidemark.serving import session
from tidemark.serving.session import explained, sql_session

SHOPS = make_pipeline(rollups=[VISITS, make_rollup(name="others")])
ASKED = ("SELECT * FROM {}", "SELECT count(*) FROM {}", "SELECT 1 FROM {} WHERE shop = 'a'")
DESKS = make_pipeline(name="desks")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a lake with the tables of two pipelines, and none of a third's."""
    made = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    for pipeline in (SHOPS, DESKS):
        create_tables(tables_of(pipeline, made), made)
    return made


def test_a_rollup_that_is_half_rolled_up_anew_says_so_and_hides_nothing_else(settings: Settings) -> None:
    set_transactions(open_table(tables_of(SHOPS, settings).speed["visits"], settings), {BEGUN_APP: 1})
    absent = make_pipeline(name="absent")
    with sql_session([SHOPS, absent, DESKS], settings) as connection:
        for view in ("shops.others", "shops.silver", "shops.batch_visits", "desks.visits", "desks.bronze"):
            assert connection.sql(f"SELECT * FROM {view}").fetchall() == []
        for asked in ASKED:
            with pytest.raises(duckdb.InvalidInputException, match=r"shops\.visits cannot be read: .* rolled up anew"):
                connection.sql(asked.format("shops.visits")).fetchall()
        described = "SELECT column_name, column_type FROM (DESCRIBE {})"
        assert connection.sql(described.format("shops.visits")).fetchall() == (
            connection.sql(described.format("shops.others")).fetchall()
        )
        with pytest.raises(duckdb.CatalogException, match="absent"):
            connection.sql("FROM absent.visits")


def test_a_table_that_does_not_exist_is_answered_with_those_that_do(settings: Settings) -> None:
    with sql_session([DESKS], settings) as connection:
        for wrong in ("desks.silvr", "nope.silver", "nope"):
            with pytest.raises(duckdb.CatalogException) as raised:
                connection.sql(f"FROM {wrong}")
            said = explained(raised.value, connection)
            assert "does not exist" in said
            assert "Did you mean" not in said
            assert "desks.silver, " in said
            assert " desks.visits" in said
        with pytest.raises(duckdb.CatalogException) as other:
            connection.sql("SELECT no_function(1)")
        assert explained(other.value, connection) == str(other.value)
    with sql_session([], settings) as connection, pytest.raises(duckdb.CatalogException) as raised:
        connection.sql("FROM shops.visits")
    with sql_session([], settings) as connection:
        assert "tidemark init" in explained(raised.value, connection)


def test_a_damaged_table_says_so_and_hides_nothing_else(settings: Settings) -> None:
    table = tables_of(SHOPS, settings).batch["visits"]
    for commit in Path(table.uri, "_delta_log").glob("*.json"):
        commit.write_text("it's torn")
    with sql_session([SHOPS, DESKS], settings) as connection:
        for view in ("shops.others", "shops.speed_visits", "desks.visits"):
            assert connection.sql(f"SELECT * FROM {view}").fetchall() == []
        for view in ("shops.visits", "shops.batch_visits"):
            for asked in ASKED:
                with pytest.raises(duckdb.InvalidInputException, match=f"{view} cannot be read: the log of the table"):
                    connection.sql(asked.format(view)).fetchall()


def test_a_missing_file_and_a_store_that_refuses_hide_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tables_of(SHOPS, settings)
    for table in (tables.bronze, tables.batch["visits"]):
        rows = pa.table({field.name: pa.nulls(1, field.type) for field in table.schema})
        dates = [name for name in table.partition_by if name.endswith("_date")]
        for name in dates:
            day = pa.array([date(2026, 1, 1)])
            rows = rows.set_column(rows.schema.get_field_index(name), name, day)
        write_deltalake(table.uri, rows.cast(table.schema), mode="append")
        for file in Path(table.uri).rglob("*.parquet"):
            file.unlink()

    def refused(table: Table, settings: Settings) -> DeltaTable:
        if table.name == "silver":
            raise OSError("Generic S3 error: 403 Forbidden")
        return open_table(table, settings)

    monkeypatch.setattr(session, "open_table", refused)
    with sql_session([SHOPS, DESKS], settings) as connection:
        for view in ("shops.others", "shops.speed_visits", "desks.visits"):
            connection.sql(f"SELECT * FROM {view}").fetchall()
        told = {"shops.bronze": "Restore the file", "shops.silver": "403 Forbidden. Check the place"}
        for view, why in told.items():
            with pytest.raises(duckdb.InvalidInputException, match=f"(?s){view} cannot be read: .*{why}"):
                connection.sql(f"SELECT * FROM {view}").fetchall()


def test_a_table_that_is_not_there_yet_says_so(settings: Settings) -> None:
    grown = make_pipeline(rollups=[*SHOPS.rollups, make_rollup(name="later")])
    with sql_session([grown], settings) as connection:
        assert connection.sql("SELECT * FROM shops.visits").fetchall() == []
        for view in ("shops.later", "shops.speed_later"):
            with pytest.raises(duckdb.InvalidInputException, match=r"there is no table at .*: run `tidemark init`"):
                connection.sql(f"SELECT * FROM {view}").fetchall()
