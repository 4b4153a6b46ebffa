"""The speed layer under a real Airflow: kept alive, one driver at a time, killed, and stopped as planned."""

from pathlib import Path

import httpx
import psutil
import pytest
from airflow_world import AirflowWorld

from tidemark.delta import open_table
from tidemark.errors import BusyError
from tidemark.health import health, running_streams, stop_file, stream_lock
from tidemark.locks import FileLock
from tidemark.pipelines.clickstream import clickstream
from tidemark.producers.producer import ensure_stream, kinesis_client, produce, sample_events
from tidemark.tables import tables_of

DAG = "clickstream.stream"


def accounted(airflow: AirflowWorld) -> int:
    """Records that the refine log accounts for."""
    table = tables_of(clickstream, airflow.settings).refine_log
    if not (Path(table.uri) / "_delta_log").exists():
        return 0
    log = open_table(table, airflow.settings).to_pyarrow_dataset()
    return int(sum(log.to_table(["records"])["records"].to_pylist()))


def put(airflow: AirflowWorld, count: int) -> None:
    produce(kinesis_client(airflow.settings), clickstream, sample_events(clickstream)(count))


@pytest.mark.timeout(1200)
def test_streams_are_kept_alive_and_stopped_as_planned(airflow: AirflowWorld) -> None:
    settings = airflow.settings
    ensure_stream(kinesis_client(settings), clickstream)
    put(airflow, 500)
    airflow.switch_on(DAG)
    [run] = airflow.until(lambda: airflow.runs(DAG, "scheduled"), "a continuous run begins")
    airflow.until(lambda: accounted(airflow) == 500, "the first records")
    assert running_streams("clickstream", settings).keys() == {"ingest", "refine"}
    path = stream_lock("clickstream", "refine", settings)
    assert path is not None
    with pytest.raises(BusyError, match=f"is being done by {DAG}, run {run.id[:9]}"):
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

    airflow.pause(DAG)
    stop_file("clickstream", settings).touch()
    airflow.until(lambda: run.tasks()["stream"] == "success", "it ends in peace")
    assert running_streams("clickstream", settings) == {}
    assert not stop_file("clickstream", settings).exists()
    assert run.value("stream")["lag_seconds"] == 0
    assert airflow.asset_events(DAG)["clickstream.bronze"]["rows"] == 800


def test_a_page_of_the_ui_shows_every_pipeline_to_those_who_are_logged_in(airflow: AirflowWorld) -> None:
    address = f"{airflow.url}/tidemark/"
    assert httpx.get(address, headers={"Authorization": "Bearer of-nothing"}).status_code in (401, 403)
    shown = httpx.get(address, headers=airflow.client.headers())
    assert shown.status_code == 200
    assert "flights" in shown.text
    assert "2013-01-02: 930 rows" in shown.text
    assert airflow.settings.lake_uri in shown.text
    listed = airflow.client.call("GET", "/plugins").json()["plugins"]
    [plugin] = [plugin for plugin in listed if plugin["name"] == "tidemark"]
    assert plugin["external_views"][0]["href"] == "/tidemark/"
