"""``airflow dags test`` of a reprocess: the real DAG, its real tasks, and Spark by spark-submit."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from layers import kinesis_records, make_tables

from tidemark.airflow.standalone import airflow_environment
from tidemark.pipelines.flights import flights
from tidemark.producers.flights import events
from tidemark.serving import answer, pin
from tidemark.settings import Settings
from tidemark_spark.bronze import BronzeSink


def test_a_reprocess_run_publishes_its_dates_and_changes_no_answer(
    settings: Settings, refine: Callable[..., None], tmp_path: Path
) -> None:
    make_tables(flights, settings)
    BronzeSink(flights, settings, lambda: "q").write(kinesis_records(islice(events(), 2_000)), 0)
    refine(flights)
    rollup = flights.rollup("departures_daily")
    before = answer(pin(flights, rollup, settings))

    environment = airflow_environment(settings, port=8080, home=tmp_path / "airflow")
    airflow = str(Path(sys.executable).with_name("airflow"))
    migrated = subprocess.run([airflow, "db", "migrate"], env=environment, capture_output=True, text=True, check=False)
    assert migrated.returncode == 0, migrated.stderr[-2000:]
    conf = json.dumps({"from": "2013-01-01", "to": "2013-01-03"})
    command = [airflow, "dags", "test", "flights.reprocess", "--conf", conf]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    snapshot = pin(flights, rollup, settings)
    assert answer(snapshot, layer="batch").num_rows > 0
    assert answer(snapshot) == before
