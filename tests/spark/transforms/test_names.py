"""A name that a definition may have works everywhere: keywords of SQL as pipeline, rollup, measure and column."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import orjson
from layers import kinesis_records, make_tables, read
from pyspark.sql import SparkSession

from tidemark.core.settings import Settings
from tidemark.definition import Count, KinesisStream, Max, Pipeline, Rollup, Sum, Window
from tidemark.lake.generations import begin_generation
from tidemark.lake.maintenance.compaction import compact
from tidemark.lake.tables import tables_of
from tidemark.monitoring.overview import overview
from tidemark.monitoring.quarantine import counts
from tidemark.quality import load_suite
from tidemark.serving import pin, query
from tidemark.serving.session import sql_session
from tidemark_spark.batch.reconcile import reconcile
from tidemark_spark.batch.reprocess import reprocess
from tidemark_spark.speed.fold import fold
from tidemark_spark.speed.ingest import BronzeSink

NAMES = [
    "select",
    "key",
    "order",
    "null",
    "from",
    "where",
    "group",
    "events",
    "using",
    "desc",
    "limit",
    "table",
    "records",
]
DAY = date(2026, 1, 1)


def test_keywords_are_names_like_others(
    spark: SparkSession, settings: Settings, refine: Callable[..., None], tmp_path: Path
) -> None:
    measures = {name: Count(name) for name in ("from", "where", "group", "events")}
    named = Pipeline(
        name="order",
        source=KinesisStream("order"),
        schema=", ".join(f"`{name}` STRING" for name in NAMES) + ", `interval` BIGINT, `current` TIMESTAMP",
        event_time="current",
        key=["select", "key"],
        rollups=[
            Rollup("table", ["select", "order"], Window("1 day"), {**measures, "with": Sum("interval")}),
            Rollup(
                "all",
                ["null"],
                Window("2 hours", every="1 hour"),
                {"end": Max("using"), "left": Count(), "panes": Count("records")},
            ),
        ],
        suite=str(tmp_path / "suite.json"),
        required=["desc"],
        cluster_by=["select", "order"],
        timezone="Europe/Berlin",
    )
    rules = [
        {"id": f"414f27c7-bedc-5fae-8718-9531803cce3{n}", "type": kind, "kwargs": kwargs, "severity": "critical"}
        for n, (kind, kwargs) in enumerate([
            ("expect_column_values_to_be_in_set", {"column": "group", "value_set": ["group 1"]}),
            ("expect_column_values_to_not_be_null", {"column": "from"}),
            ("expect_column_values_to_match_regex", {"column": "limit", "regex": "limit"}),
        ])
    ]  # fmt: skip
    (tmp_path / "suite.json").write_bytes(orjson.dumps({"name": "order", "expectations": rules, "meta": {}}))
    here = settings.model_copy(update={"project_dir": tmp_path})
    suite = load_suite(named, here)
    make_tables(named, here)
    begin_generation(named, suite, here)
    good = {name: f"{name} 1" for name in NAMES} | {"interval": 3, "current": f"{DAY}T12:00:00Z"}
    records = [good, {**good, "key": "another"}, {**good, "desc": None}, {**good, "group": "?"}, good]
    for batch in range(2):
        sink = BronzeSink(named, here, lambda: "query", clock=lambda: datetime(2026, 1, 5, tzinfo=UTC))
        sink.write(kinesis_records(records, batch * 10), batch)
        refine(named)
    tables = tables_of(named, here)
    for layer in ("speed", "batch"):
        assert read(tables.silver, here).num_rows == 2
        with sql_session([named], here) as connection:
            (row,) = connection.sql('SELECT "from", "where", "with", "order" FROM "order"."table"').fetchall()
            assert row == (2, 2, 6, "order 1")
            assert connection.sql('SELECT sum("left") FROM "order"."all"').fetchall() == [(4,)]
            assert connection.sql('SELECT "select" FROM "order".silver LIMIT 1').fetchall() == [("select 1",)]
        assert query(pin(named, named.rollups[1], here)).column_names[:2] == ["null", "window_start"]
        if layer == "speed":
            reprocess(spark, named, suite, here, DAY, date(2026, 1, 2), wait_seconds=5)
    assert {row["reason"] for row in counts(named, here)} == {
        "missing:desc", "expectation:expect_column_values_to_be_in_set(group)"
    }  # fmt: skip
    fold(spark, named, here, now=lambda: datetime.now(UTC) + timedelta(days=1))
    assert not any(row.failed for row in compact(named, here, min_files=1))
    found = reconcile(spark, named, suite, here, DAY, date(2026, 1, 2))
    assert (found.served, found.events) == (0, 2)
    assert overview(named, here).months


def test_every_keyword_of_duckdb_names_a_pipeline_a_rollup_and_a_column(settings: Settings) -> None:
    asked = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    keywords = [name for (name,) in duckdb.sql(asked).fetchall() if name[0] != "_"]
    assert len(keywords) > 50
    columns = ", ".join(f"`{name}` STRING" for name in keywords)
    rollups = [
        Rollup(name, keywords[:3], Window("1 day"), {name: Count() for name in keywords[3:]}) for name in keywords[:3]
    ]
    definitions = [
        Pipeline(
            name=name, source=KinesisStream("s"), schema=f"{columns}, at TIMESTAMP", event_time="at", key=[name],
            rollups=rollups if name == keywords[0] else [], suite="none.json",
        )
        for name in keywords[:10]
    ]  # fmt: skip
    for definition in definitions:
        make_tables(definition, settings)
    with sql_session(definitions, settings) as connection:
        for definition in definitions:
            for view in ("silver", *(rollup.name for rollup in definition.rollups)):
                assert connection.sql(f'SELECT * FROM "{definition.name}"."{view}"').fetchall() == []
