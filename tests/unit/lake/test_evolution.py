"""What a changed definition does to tables that there are: what fits is added, what does not is refused beforehand."""

import shutil
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from sample_pipeline import make_pipeline, make_rollup

from tidemark.core.errors import DefinitionError, TableError
from tidemark.core.settings import Settings
from tidemark.definition import Count, Max, Min, Pipeline, Sum, Window
from tidemark.lake.commits import IdempotentWriter
from tidemark.lake.evolution import create_tables
from tidemark.lake.generations import begin_generation, current_generation, refuse_incompatible
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.quality.suite import RowRule, Suite
from tidemark.serving.scan import create_view

NO_RULES = Suite("shops", {}, (), ())
BEFORE = make_pipeline()
SCHEMA = BEFORE.schema
DAY = date(2026, 1, 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(lake_uri=str(tmp_path / "lake"), state_uri=str(tmp_path / "state"))
    create_tables(tables_of(BEFORE, made), made)
    begin_generation(BEFORE, NO_RULES, made)
    return made


def columns(settings: Settings, table: str) -> list[str]:
    tables = tables_of(BEFORE, settings)
    chosen = tables.silver if table == "silver" else getattr(tables, table)["visits"]
    return [field.name for field in open_table(chosen, settings).schema().fields]


def test_a_new_column_and_a_new_measure_are_added_and_a_lost_one_is_kept(settings: Settings) -> None:
    measures = {"visits": Count(), "heaviest": Max("weight")}
    after = make_pipeline(
        schema=SCHEMA.replace("open BOOLEAN", "colour STRING"), rollups=[make_rollup(measures=measures)]
    )
    refuse_incompatible(after, NO_RULES, settings)
    create_tables(tables_of(after, settings), settings)
    assert {"open", "colour"} < set(columns(settings, "silver"))
    for layer in ("speed", "batch"):
        assert {"revenue__sum", "heaviest__max"} < set(columns(settings, layer))
    silver = tables_of(after, settings).silver
    row = {"id": "1", "colour": "red", "ingest_batch": 0, "segment": 0}
    assert IdempotentWriter(silver, settings).append(pa.Table.from_pylist([row], schema=silver.schema), 0)
    [written] = open_table(silver, settings).to_pyarrow_dataset().to_table(["id", "colour", "open"]).to_pylist()
    assert written == {"id": "1", "colour": "red", "open": None}


def test_another_type_is_refused_before_any_table_is_changed(settings: Settings) -> None:
    wider = make_pipeline(schema=SCHEMA.replace("DECIMAL(12,2)", "DECIMAL(14,2)") + ", colour STRING")
    with pytest.raises(TableError, match=r"silver.amount is .*\(12, ?2\).* and .*\(14, ?2\).* give the column"):
        create_tables(tables_of(wider, settings), settings)
    assert "colour" not in columns(settings, "silver")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"by": ["open"]}, "had other by"),
        ({"window": Window("10 minutes")}, "had other window"),
        ({"measures": {"visits": Count("amount")}}, "measure 'visits' was defined otherwise"),
        ({"measures": {"revenue": Sum("weight")}}, "measure 'revenue' was defined otherwise"),
    ],
)
def test_a_rollup_that_means_something_else_needs_another_name(
    settings: Settings, changed: dict[str, object], reason: str
) -> None:
    after = make_pipeline(rollups=[make_rollup(**changed)])
    with pytest.raises(DefinitionError, match=f"{reason}.*new name"):
        refuse_incompatible(after, NO_RULES, settings)
    refuse_incompatible(make_pipeline(rollups=[make_rollup(name="visits_2", **changed)]), NO_RULES, settings)


def test_every_change_that_is_taken_is_a_generation_and_batch_waits_for_the_stream(settings: Settings) -> None:
    assert current_generation(BEFORE, NO_RULES, settings) == (0, -1)
    assert begin_generation(BEFORE, NO_RULES, settings) == (0, -1), "the same definition goes on"
    rule = RowRule("expect_column_values_to_be_null(open)", "open IS NOT NULL", "quarantine")
    stricter = Suite("shops", {}, (rule,), ())
    with pytest.raises(TableError, match=r"restart them first.*rules"):
        current_generation(BEFORE, stricter, settings)
    assert begin_generation(BEFORE, stricter, settings).number == 1
    assert begin_generation(BEFORE, NO_RULES, settings).number == 2, "back again is a change, too"
    more = make_pipeline(rollups=[*BEFORE.rollups, make_rollup(name="least", measures={"least": Min("amount")})])
    create_tables(tables_of(more, settings), settings)
    assert begin_generation(more, NO_RULES, settings).number == 3


def test_a_crash_between_any_two_commits_leaves_tables_that_are_read_and_then_finished(
    settings: Settings, tmp_path: Path
) -> None:
    rollup = make_rollup(measures={"visits": Count(), "heaviest": Max("weight")})
    after = make_pipeline(schema=SCHEMA + ", colour STRING", rollups=[rollup])
    append(BEFORE, settings, 0)
    made = set(commits(settings))
    create_tables(tables_of(after, settings), settings)
    evolving = sorted(set(commits(settings)) - made, key=lambda path: path.stat().st_mtime_ns)
    assert len(evolving) >= 6, "silver, speed and batch: the property, then the columns"
    for kept in range(len(evolving) + 1):
        lake = tmp_path / f"cut{kept}"
        shutil.copytree(settings.lake_uri, lake)
        for path in evolving[kept:]:
            (lake / path.relative_to(settings.lake_uri)).unlink()
        cut = settings.model_copy(update={"lake_uri": str(lake)})
        assert ids(cut) == ["0"]
        create_tables(tables_of(after, cut), cut)
        append(after, cut, 1)
        assert ids(cut) == ["0", "1"], f"after {kept} of {len(evolving)} commits"


def test_a_stream_goes_on_with_its_definition_when_a_newer_one_changes_its_tables(settings: Settings) -> None:
    silver = tables_of(BEFORE, settings).silver
    running = IdempotentWriter(silver, settings)
    for position in range(2):
        row = {"id": str(position), "ingest_batch": position, "segment": 0, "event_date": DAY}
        assert running.append(pa.Table.from_pylist([row], schema=silver.schema), position)
        create_tables(tables_of(make_pipeline(schema=SCHEMA + ", colour STRING"), settings), settings)
    assert ids(settings) == ["0", "1"]


def append(pipeline: Pipeline, settings: Settings, position: int) -> None:
    silver = tables_of(pipeline, settings).silver
    row = {"id": str(position), "ingest_batch": position, "segment": 0, "event_date": DAY}
    assert IdempotentWriter(silver, settings).append(pa.Table.from_pylist([row], schema=silver.schema), position)


def ids(settings: Settings) -> list[str]:
    silver = open_table(tables_of(BEFORE, settings).silver, settings)
    connection = duckdb.connect()
    create_view(connection, "silver", silver)
    return sorted(connection.execute("SELECT * FROM silver").fetchdf()["id"])


def commits(settings: Settings) -> list[Path]:
    return list(Path(settings.lake_uri).rglob("_delta_log/*.json"))
