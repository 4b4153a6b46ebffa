"""A third pipeline is one new file and one suite: nothing else changes."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from layers import kinesis_records, make_tables, read

from tidemark.core.settings import Settings, get_settings
from tidemark.lake.tables import tables_of
from tidemark.pipelines import load_pipelines
from tidemark.serving import pin, query
from tidemark_spark.speed.ingest import BronzeSink

DEFINITION = '''
"""Readings of thermometers."""

from tidemark.definition import Count, CountIf, KinesisStream, Max, Mean, Min, Pipeline, Rollup, Sum, Window

readings = Pipeline(
    name="readings",
    source=KinesisStream("readings"),
    schema="sensor STRING, at TIMESTAMP, celsius DOUBLE, alarm BOOLEAN",
    event_time="at",
    key=["sensor", "at"],
    rollups=[
        Rollup(
            "hourly",
            by=["sensor"],
            window=Window("1 hour"),
            measures={
                "n": Count(), "alarms": CountIf("alarm"), "coldest": Min("celsius"), "hottest": Max("celsius"),
                "mean": Mean("celsius"), "total": Sum("celsius"),
            },
        )
    ],
    suite="SUITE",
)
'''


@pytest.fixture
def definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = {
        "name": "readings",
        "expectations": [
            {
                "id": str(uuid.uuid4()),
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "celsius", "min_value": -60, "max_value": 60},
            }
        ],
    }
    (tmp_path / "readings.json").write_text(json.dumps(suite))
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "readings.py").write_text(DEFINITION.replace("SUITE", str(tmp_path / "readings.json")))
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(folder))
    get_settings.cache_clear()


@pytest.mark.usefixtures("definitions")
def test_one_file_and_one_suite_make_a_pipeline(settings: Settings, refine: Callable[..., None]) -> None:
    pipeline = load_pipelines()["readings"]
    get_settings.cache_clear()
    make_tables(pipeline, settings)
    events = [
        {"sensor": "a", "at": "2026-01-01T00:10:00Z", "celsius": 0.1, "alarm": False},
        {"sensor": "a", "at": "2026-01-01T00:20:00Z", "celsius": 0.2, "alarm": True},
        {"sensor": "a", "at": "2026-01-01T00:20:00Z", "celsius": 0.2, "alarm": True},
        {"sensor": "a", "at": "2026-01-01T00:30:00Z", "celsius": 451, "alarm": True},
        {"sensor": "b", "at": "2026-01-01T01:00:00Z", "celsius": -40, "alarm": False},
    ]
    BronzeSink(pipeline, settings, lambda: "q").write(kinesis_records(events), 0)
    refine(pipeline)
    rows = query(pin(pipeline, pipeline.rollup("hourly"), settings)).to_pylist()
    got = [
        {name: row[name] for name in ("sensor", "n", "alarms", "coldest", "hottest", "mean", "total")} for row in rows
    ]
    assert got == [
        {"sensor": "a", "n": 2, "alarms": 1, "coldest": 0.1, "hottest": 0.2, "mean": 0.3 / 2, "total": 0.3},
        {"sensor": "b", "n": 1, "alarms": 0, "coldest": -40.0, "hottest": -40.0, "mean": -40.0, "total": -40.0},
    ], "0.1 + 0.2 is 0.3: doubles are summed in fixed point"
    quarantined = read(tables_of(pipeline, settings).quarantine, settings)
    assert quarantined["reasons"].to_pylist() == [["expectation:expect_column_values_to_be_between(celsius)"]]
