"""One real ``airflow standalone`` for all tests of the DAGs, over a lake with the first flights of 2013."""

from collections.abc import Iterator
from itertools import islice

import pytest
from airflow_world import AirflowWorld, free_port
from layers import kinesis_records, make_tables, run_refine
from pyspark.sql import SparkSession

from tidemark.airflow.standalone import start_airflow
from tidemark.jars import ensure_jars
from tidemark.pipelines.flights import flights
from tidemark.producers.flights import events
from tidemark.settings import Settings, get_settings
from tidemark_spark.bronze import BronzeSink


@pytest.fixture(scope="session")
def airflow(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowWorld]:
    home = tmp_path_factory.mktemp("airflow")
    ensure_jars(get_settings(), print)
    settings = Settings(home=home, jars_dir=get_settings().jars_dir, spark_slots=1, retry_seconds=1)
    port = free_port()
    child = start_airflow(settings, port, log=home / "airflow.log", paused=True)
    try:
        make_tables(flights, settings)
        BronzeSink(flights, settings, lambda: "q").write(kinesis_records(islice(events(), 2_000)), 0)
        run_refine(spark, flights, settings)
        world = AirflowWorld(settings, port, child)
        world.wait_until_it_reads_the_dags()
        yield world
    finally:
        child.stop()
