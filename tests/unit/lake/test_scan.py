"""Views of snapshots in DuckDB: the files that the log names, whatever their folder is called."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake

from tidemark.lake.evolution import EVOLVED
from tidemark.serving.scan import create_view, relation
from tidemark.serving.view import connect

SCHEMA = pa.schema([("n", pa.int64()), ("event_date", pa.date32()), ("name", pa.string()), ("segment", pa.int64())])


def table(folder: Path) -> DeltaTable:
    """Two files in two partitions, and one that is not part of the table any more."""
    uri = str(folder)
    for n in range(3):
        rows = {"n": [n], "event_date": [date(2026, 1, n + 1)], "name": [f"row {n}"], "segment": [n]}
        write_deltalake(uri, pa.table(rows, schema=SCHEMA), mode="append", partition_by=["event_date", "segment"])
    DeltaTable(uri).delete("n = 1")
    return DeltaTable(uri)


@pytest.mark.parametrize("name", ["plain", "it's quoted", "star*", "with space"])
def test_a_view_holds_what_the_snapshot_holds(tmp_path: Path, name: str) -> None:
    snapshot = table(tmp_path / name)
    with connect() as connection:
        create_view(connection, "rows", snapshot)
        found = connection.sql("SELECT * FROM rows ORDER BY n").to_arrow_table()
        assert found.column_names == SCHEMA.names
        assert found.to_pylist() == [
            {"n": n, "event_date": date(2026, 1, n + 1), "name": f"row {n}", "segment": n} for n in (0, 2)
        ]
        chosen = [path for path in pa.table(snapshot.get_add_actions())["path"].to_pylist() if "segment=2" in path]
        assert connection.sql(f"SELECT n FROM ({relation(connection, 'a', snapshot, chosen)})").fetchall() == [(2,)]
        nothing = f"SELECT count(*), max(event_date) FROM ({relation(connection, 'b', snapshot, [])})"
        assert connection.sql(nothing).fetchall() == [(0, None)]


def test_files_from_before_a_column_came_have_none_of_it(tmp_path: Path) -> None:
    snapshot = table(tmp_path / "grown")
    snapshot.alter.add_columns([Field("colour", "string", nullable=True)])
    snapshot.alter.set_table_properties({EVOLVED: "true"}, raise_if_not_exists=False)
    with connect() as connection:
        create_view(connection, "rows", DeltaTable(snapshot.table_uri))
        assert connection.sql("SELECT n, colour FROM rows ORDER BY n").fetchall() == [(0, None), (2, None)]
        grown = pa.table(
            {"n": [9], "event_date": [date(2026, 1, 9)], "name": ["x"], "segment": [9], "colour": ["red"]},
            schema=SCHEMA.append(pa.field("colour", pa.string())),
        )
        write_deltalake(snapshot.table_uri, grown, mode="append")
        create_view(connection, "more", DeltaTable(snapshot.table_uri))
        assert connection.sql("SELECT n, colour FROM more ORDER BY n").fetchall() == [(0, None), (2, None), (9, "red")]


def test_two_rollups_whose_names_differ_in_where_the_point_is_are_two_views(tmp_path: Path) -> None:
    with connect() as connection:
        names = {"a.b__c": 0, "a__b.c": 1}
        for name, n in names.items():
            connection.execute(f"CREATE SCHEMA {name.partition('.')[0]}")
            # DuckDB takes this folder for a pattern, so that what is read is registered under a name.
            rows = pa.table({"n": [n], "event_date": [date(2026, 1, 1)], "name": [name], "segment": [n]}, schema=SCHEMA)
            write_deltalake(f"{tmp_path}/star*{n}", rows)
            create_view(connection, name, DeltaTable(f"{tmp_path}/star*{n}"))
        assert {name: connection.sql(f"SELECT n FROM {name}").fetchall() for name in names} == {
            name: [(n,)] for name, n in names.items()
        }
