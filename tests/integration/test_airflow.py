"""The DAGs in one real Airflow: forms, backfill, approval, alerts, killed drivers, streams kept alive, and the page.

One file, so that one of pytest's workers starts one Airflow for all of it.
"""

import time
from pathlib import Path
from typing import Any

import http_calls
import psutil
import pytest
from airflow_calls import measure_calls
from airflow_world import WAITS_FOR_A_PERSON, AirflowWorld

from tidemark.core.errors import BusyError
from tidemark.core.locks import FileLock
from tidemark.core.stream_locks import running_streams, stop_file, stream_lock
from tidemark.lake.snapshots import open_table
from tidemark.lake.tables import tables_of
from tidemark.monitoring.health import health
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client, produce, sample_events
from tidemark.serving import pin, query

DAG = "flights.reprocess"
STREAM = "clickstream.stream"
NAMES = [rollup.name for rollup in flights.rollups]
ROLLUP = flights.rollup("departures_daily")


def version(airflow: AirflowWorld) -> int:
    return open_table(tables_of(flights, airflow.settings).silver, airflow.settings).version()


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"from": "2013-01-01'; DROP TABLE silver; --", "to": "2013-01-02"}, "is not a 'date'"),
        ({"from": "2013-01-01", "to": "$(touch {file})"}, "is not a 'date'"),
        ({"from": "2013-01-01", "to": "2013-01-02", "dry_run": "true; rm -rf ."}, "is not of type 'boolean'"),
        ({"from": "2013-01-01", "to": "2013-01-02", "wait_seconds": "300 --all"}, "is not of type 'integer'"),
        ({"from": "2013-01-01", "to": "2013-01-02", "wait_seconds": 86_400}, "greater than the maximum"),
    ],
)
def test_a_form_that_is_none_is_refused_by_the_api(
    airflow: AirflowWorld, conf: dict[str, Any], message: str, tmp_path: Path
) -> None:
    injected = tmp_path / "injected"
    conf = {name: v.replace("{file}", str(injected)) if isinstance(v, str) else v for name, v in conf.items()}
    assert message in airflow.refused(DAG, **conf)
    assert not injected.exists()


def test_a_backfill_survives_a_killed_driver_and_a_second_run_on_its_date_waits(airflow: AirflowWorld) -> None:
    airflow.switch_on(DAG, "flights.validate")
    before = query(pin(flights, ROLLUP, airflow.settings))
    unchanged = version(airflow)

    [scheduled] = airflow.until(lambda: airflow.runs(DAG, "scheduled"), "yesterday's run")
    # All at once, as an operator's mistakes come.
    wrong = {
        "is empty": airflow.trigger(DAG, **{"from": "2013-01-02", "to": "2013-01-01"}),
        "into the future": airflow.trigger(DAG, **{"from": "2999-01-01", "to": "2999-01-02"}),
        "longer than the history": airflow.trigger(DAG, **{"from": "2012-12-01", "to": "2013-01-02"}),
    }
    long = airflow.trigger(DAG, **{"from": "2013-01-01", "to": "2013-02-15"})
    dry = airflow.trigger(DAG, **{"from": "2013-01-01", "to": "2013-01-03", "dry_run": True})
    for message, run in wrong.items():
        assert run.end() == "failed"
        assert message in run.log("plan")
        assert run.tasks()["reprocess"] == "upstream_failed"
    for message in wrong:
        airflow.until(lambda message=message: any(message in text for text in airflow.alerts), f"an alert: {message}")
    assert scheduled.end() == "success"
    assert scheduled.tasks()["reprocess"] == "skipped", "no event came yesterday"
    assert dry.end() == "success"
    later = ("approve", "reprocess", "batch_tables", "serving_views")
    assert dry.tasks() == {"plan": "success", **dict.fromkeys(later, "skipped")}
    assert "DRY RUN, nothing is published" in dry.log("plan")
    planned = dry.value("plan")
    assert (planned["dates"], planned["bronze_rows"], planned["expected_seconds"]) == (2, 2_000, None)
    assert planned["bronze_bytes"] > 0

    airflow.until(lambda: long.tasks()["approve"] in WAITS_FOR_A_PERSON, f"it asks: {long.tasks()}")
    late = f"run {long.id} is still running"
    airflow.until(lambda: any(late in text for text in airflow.alerts), "its deadline passes, and somebody is told")
    assert long.end_answering("approve", "Reject") == "success"
    assert long.tasks()["reprocess"] == "skipped"
    assert version(airflow) == unchanged

    [run] = airflow.backfill(DAG, "2013-01-01", "2013-01-01", max_active_runs=2)
    held = airflow.until(lambda: list((airflow.settings.home / "state/flights/reprocess").glob("*.lock")), "it begins")
    first, last = held[0].stem.split("_")
    second = airflow.trigger(DAG, **{"from": first, "to": last})
    airflow.until(lambda: "WAITING" in second.log("plan"), "the second run waits")
    assert run.id in second.log("plan"), "it names the one that it waits for"
    second.remove()
    driver = run.driver()
    assert driver is not None
    driver.kill()

    assert run.end() == "success"
    assert run.tries("reprocess") == 2
    done = run.value("reprocess")
    assert (done["from"], done["to"]) == (first, last)
    assert done["published_dates"] == 1
    assert done["bronze_rows"] == 2_000
    snapshot = pin(flights, ROLLUP, airflow.settings)
    assert query(snapshot, layer="batch").num_rows > 0
    assert query(snapshot) == before

    silver, batch = "flights.silver", "flights.batch_departures_daily"
    events = airflow.asset_events(DAG)
    assert {silver, batch, "flights.batch_departures_sliding", "flights.departures_daily"} <= events.keys()
    assert events[silver]["rows"] == 2_000
    assert (
        events[silver]["position"] == events[batch]["position"] == events["flights.departures_daily"]["position"] == 0
    )
    assert events[silver]["seconds"] > 0
    assert events[batch]["covered_segment"] == done["covered_segment"]
    recomputed = {("flights/bronze", f"flights/{table}") for table in ("silver", *(f"batch_{name}" for name in NAMES))}
    served = {(f"flights/{layer}_{name}", f"tidemark/flights.{name}") for layer in ("batch", "speed") for name in NAMES}
    assert recomputed | served <= airflow.edges()
    outputs = [output for event in airflow.lineage() if event["eventType"] == "COMPLETE" for output in event["outputs"]]
    counted = {o["name"]: o for o in outputs if "outputStatistics" in o.get("outputFacets", {})}
    published = counted[tables_of(flights, airflow.settings).silver.uri]
    assert published["outputFacets"]["outputStatistics"]["rowCount"] == done["silver_rows"]
    assert "dep_delay" in [field["name"] for field in published["facets"]["schema"]["fields"]]
    [checked] = airflow.until(lambda: airflow.runs("flights.validate", "asset_triggered"), "silver's event starts it")
    airflow.until(lambda: checked.tasks()["plan"] == "success", "it has the range of the event")
    assert checked.value("plan") == {"from": first, "to": last}
    checked.remove()


def accounted(airflow: AirflowWorld) -> int:
    """Records that the refine log accounts for."""
    table = tables_of(clickstream, airflow.settings).refine_log
    if not (Path(table.uri) / "_delta_log").exists():
        return 0
    log = open_table(table, airflow.settings).to_pyarrow_dataset()
    return int(sum(log.to_table(["records"])["records"].to_pylist()))


def put(airflow: AirflowWorld, count: int) -> None:
    produce(kinesis_client(airflow.settings), clickstream, sample_events(clickstream)(count))


def test_streams_are_kept_alive_and_stopped_as_planned(airflow: AirflowWorld) -> None:
    settings = airflow.settings
    ensure_stream(kinesis_client(settings), clickstream)
    put(airflow, 500)
    airflow.switch_on(STREAM)
    [run] = airflow.until(lambda: airflow.runs(STREAM, "scheduled"), "a continuous run begins")
    airflow.until(lambda: accounted(airflow) == 500, "the first records")
    assert running_streams("clickstream", settings).keys() == {"ingest", "refine"}
    path = stream_lock("clickstream", "refine", settings)
    assert path is not None
    with pytest.raises(BusyError, match=f"is being done by {STREAM}, run {run.id[:9]}"):
        FileLock(path, "the refine stream of clickstream")

    tries = run.tries("stream")
    driver = run.driver()
    assert driver is not None
    jvm = driver.parent()
    assert jvm is not None
    jvm.kill()
    put(airflow, 300)
    airflow.until(lambda: run.tries("stream") > tries and accounted(airflow) == 800, "a second driver goes on")
    assert psutil.wait_procs([driver], timeout=20)[1] == [], "the first one has gone"
    airflow.until(lambda: health(clickstream, settings).lag_seconds == 0, "silver has them too")

    airflow.pause(STREAM)
    stop_file("clickstream", settings).touch()
    airflow.until(lambda: run.tasks()["stream"] == "success", "it ends in peace")
    assert running_streams("clickstream", settings) == {}
    assert not stop_file("clickstream", settings).exists()
    assert run.value("stream")["lag_seconds"] == 0
    assert airflow.asset_events(STREAM)["clickstream.bronze"]["rows"] == 800
    written = ("bronze", "silver", "quarantine", "speed_activity")
    assert {("kinesis://us-east-1/clickstream", f"clickstream/{table}") for table in written} <= airflow.edges()


def test_a_page_of_the_ui_shows_every_pipeline_to_those_who_are_logged_in(airflow: AirflowWorld) -> None:
    address = f"{airflow.url}/tidemark/"
    assert http_calls.get(address, headers={"Authorization": "Bearer of-nothing"}).status_code in (401, 403)
    shown = http_calls.get(address, headers=airflow.client.headers())
    assert shown.status_code == 200
    assert "flights" in shown.text
    assert "2013-01-02: 930 rows" in shown.text
    assert airflow.settings.lake_uri in shown.text
    listed = airflow.client.call("GET", "/plugins").json()["plugins"]
    [plugin] = [plugin for plugin in listed if plugin["name"] == "tidemark"]
    assert plugin["external_views"][0]["href"] == "/tidemark/"


def test_a_killed_scheduler_is_noticed_at_once_and_the_next_one_runs_what_was_asked(airflow: AirflowWorld) -> None:
    scheduler = airflow.platform.supervisor.parts["scheduler"]
    airflow.switch_on(DAG)
    assert scheduler.child is not None
    restarts = scheduler.restarts
    run = airflow.trigger(DAG, **{"from": "2013-01-01", "to": "2013-01-03", "dry_run": True})
    killed = time.monotonic()
    scheduler.child.process.kill()
    airflow.until(lambda: scheduler.restarts > restarts and scheduler.state != "restarting", "another scheduler starts")
    assert time.monotonic() - killed < 15
    assert scheduler.cause == "was ended by SIGKILL"
    assert run.end() == "success"


def test_calls_of_the_api_beside_the_scheduler_meet_no_error_of_the_database(airflow: AirflowWorld) -> None:
    airflow.switch_on(DAG)
    for _ in range(3):
        airflow.trigger(DAG, **{"from": "2013-01-01", "to": "2013-01-03", "dry_run": True})
    calls = measure_calls(airflow.url, rounds=20)
    assert calls.errors == []
    assert calls.median_seconds < 1
