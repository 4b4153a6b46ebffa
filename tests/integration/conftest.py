"""One real Airflow on PostgreSQL for all tests of the DAGs, over a lake of flights, and a Kinesis."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

import pytest
from airflow_world import AirflowWorld, alerts_received, free_port
from layers import kinesis_records, make_tables, run_refine
from pyspark.sql import SparkSession

from kinesis_emulator import running_emulator
from tidemark.core.settings import Settings, get_settings
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.embedded.platform import Platform, PlatformOptions
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.flights import events
from tidemark_spark.speed.ingest import BronzeSink


@pytest.fixture(scope="module")  # not longer: its scheduler and jobs would slow the tests after them
def airflow(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowWorld]:
    home = tmp_path_factory.mktemp("airflow")
    jars = get_settings().jars_dir
    ensure_jars(get_settings(), print)
    with ExitStack() as stack:
        shell = stack.enter_context(pytest.MonkeyPatch.context())
        shell.setenv("AWS_ACCESS_KEY_ID", "test")
        shell.setenv("AWS_SECRET_ACCESS_KEY", "test")
        lineage = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
        shell.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(lineage))
        endpoint = stack.enter_context(running_emulator())
        webhook, alerts = stack.enter_context(alerts_received())
        settings = Settings(
            home=home,
            jars_dir=jars,
            kinesis_endpoint_url=endpoint,
            spark_slots=1,
            retry_seconds=1,
            reprocess_limit_seconds=20,
        )
        options = PlatformOptions(kinesis_port=None, airflow_port=free_port(), paused=True, durable=False)
        platform = stack.enter_context(Platform(settings, options, print))
        stack.callback(platform.remove)
        platform.claim("the tests' platform")
        platform.start(print)
        make_tables(flights, settings)
        BronzeSink(flights, settings, lambda: "q").write(kinesis_records(islice(events(), 2_000)), 0)
        run_refine(spark, flights, settings)
        world = AirflowWorld(settings, platform, alerts)
        world.wait_until_it_reads_the_dags()
        world.send_alerts_to(webhook)
        yield world
