"""A measure of a user's own is one class beside the pipeline; the one that the glossary shows is run here."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tidemark.core.settings import get_settings
from tidemark.definition import Dialect, Pipeline
from tidemark.lake.tables import batch_schema, silver_schema, speed_schema
from tidemark.pipelines import load_pipelines
from tidemark.serving import serving_sql
from tidemark.serving.view import connect
from tidemark_spark.transforms.rollups import merge_partials, partial_aggregates

GLOSSARY = Path(__file__).parents[3] / "docs" / "glossary.md"


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    [code] = re.findall(r"```python\n(.*?)```", GLOSSARY.read_text(), flags=re.DOTALL)
    (tmp_path / "readings.py").write_text(code)
    monkeypatch.setenv("TIDEMARK_PIPELINES_DIR", str(tmp_path))
    get_settings.cache_clear()
    found = load_pipelines()["readings"]
    get_settings.cache_clear()
    return found


def test_the_measure_that_the_glossary_shows_is_merged_and_served(spark: SparkSession, pipeline: Pipeline) -> None:
    rollup, start = pipeline.rollup("daily"), datetime(2026, 1, 1, tzinfo=UTC)
    readings = [("a", 1, "20.50"), ("a", 2, "-3.25"), ("a", 3, None), ("b", 1, "7.00"), ("c", 2, None)]
    rows = [
        {
            "sensor": sensor,
            "at": start + timedelta(hours=batch),
            "celsius": None if celsius is None else Decimal(celsius),
            "ingest_batch": batch,
            "segment": 0,
            "event_date": start.date(),
        }
        for sensor, batch, celsius in readings
    ]
    events = spark.createDataFrame(pa.Table.from_pylist(rows, schema=silver_schema(pipeline)))
    by_batch = events.withColumn("micro_batch", F.col("ingest_batch"))
    speed = partial_aggregates(by_batch, pipeline, rollup, ["segment", "micro_batch"])
    for kept in (speed, merge_partials(speed, pipeline, rollup, ["segment"])):
        with connect() as connection:
            connection.register("batch", batch_schema(pipeline, rollup).empty_table())
            connection.register("speed", kept.select(*speed_schema(pipeline, rollup).names).toArrow())
            text = serving_sql(pipeline, rollup, Dialect.DUCKDB)
            answer = connection.sql(f"SELECT sensor, readings, spread FROM ({text}) ORDER BY sensor").fetchall()
        assert answer == [("a", 3, Decimal("23.75")), ("b", 1, Decimal(0)), ("c", 1, None)]
