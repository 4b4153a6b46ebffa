"""The values of a suite's parameters, told by silver's log alone."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from sample_pipeline import make_pipeline

from tidemark.core.settings import Settings
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import active_files, open_table
from tidemark.lake.tables import tables_of
from tidemark.quality.parameters import PARAMETERS, slice_parameters

PIPELINE = make_pipeline()
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MARCH = [date(2026, 3, n) for n in range(1, 32)]


@pytest.fixture
def silver(tmp_path: Path) -> DeltaTable:
    """Ten rows on each of March's first three dates, forty on the 5th, a hundred on the 20th."""
    settings = Settings(lake_uri=str(tmp_path))
    tables = tables_of(PIPELINE, settings)
    create_tables(tables, settings)
    days = [*MARCH[:3] * 10, *[MARCH[4]] * 40, *[MARCH[19]] * 100]
    rows = [{"id": str(n), "event_date": day, "segment": n % 2} for n, day in enumerate(days)]
    write_deltalake(
        open_table(tables.silver, settings), pa.Table.from_pylist(rows, schema=tables.silver.schema), mode="append"
    )
    return open_table(tables.silver, settings)


def test_a_slice_is_expected_to_have_the_mean_of_the_days_before_it(silver: DeltaTable) -> None:
    found = slice_parameters(PIPELINE, active_files(silver), MARCH[5], MARCH[7], NOW)
    assert set(found) == set(PARAMETERS)
    assert found["expected_rows"] == 2 * (3 * 10 + 40) / 4, "of the dates before that have rows"
    assert (found["slice_start"], found["slice_end"], found["slice_days"]) == (
        datetime(2026, 3, 6),
        datetime(2026, 3, 8),
        2,
    )


def test_dates_without_any_before_are_expected_to_have_nothing_in_particular(silver: DeltaTable) -> None:
    assert "expected_rows" not in slice_parameters(PIPELINE, active_files(silver), MARCH[0], MARCH[1], NOW)
    assert "expected_rows" not in slice_parameters(PIPELINE, active_files(silver), MARCH[13], MARCH[14], NOW)
    assert slice_parameters(PIPELINE, active_files(silver), date.min, date.max, NOW) == {
        "slice_end": datetime(2026, 6, 1)
    }


def test_a_slice_ends_now_at_the_latest_and_begins_at_midnight_of_the_pipelines_zone(silver: DeltaTable) -> None:
    berlin = make_pipeline(timezone="Europe/Berlin")
    found = slice_parameters(berlin, active_files(silver), MARCH[5], MARCH[6], datetime(2026, 3, 6, 9, tzinfo=UTC))
    assert (found["slice_start"], found["slice_end"]) == (datetime(2026, 3, 5, 23), datetime(2026, 3, 6, 9))
