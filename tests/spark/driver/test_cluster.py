"""A real standalone cluster of Spark: jobs go there by a setting, and executors get their code from the bundle."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from layers import read
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from kinesis_emulator import running_emulator
from tidemark.cli.bundle import make_bundle
from tidemark.core.processes import Child
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import BUNDLE_ENVIRONMENT, pyspark_folder, submit_command, submit_environment
from tidemark.core.spark_start.jars import SPARK, ensure_jars
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client, produce
from tidemark.serving import pin, query

RECORDS = 300


def said(log: Path, pattern: str) -> str:
    """What a group of a pattern matches in a log, once it does."""
    look = retry(retry=retry_if_result(lambda found: found is None), stop=stop_after_delay(120), wait=wait_fixed(0.1))
    return str(look(lambda: re.search(pattern, log.read_text()))()[1])


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a master with one worker, both bound to this machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    spark_class = [str(pyspark_folder() / "bin" / "spark-class")]
    # Its executors find the AWS credentials, and nothing of this environment's Python.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYSPARK", "TIDEMARK"))}
    environment |= {"SPARK_HOME": str(pyspark_folder()), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    place = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
    daemon = "org.apache.spark.deploy"
    log = tmp_path / "master.log"
    spark_master = Child("master", [*spark_class, f"{daemon}.master.Master", *place], log, environment)
    try:
        url = said(log, r"Starting Spark master at (spark://\S+)")
        offers = ["--cores", "2", "--memory", "1g", "--work-dir", str(tmp_path / "work")]
        command = [*spark_class, f"{daemon}.worker.Worker", *place, *offers, url]
        worker = Child("worker", command, tmp_path / "worker.log", environment)
        try:
            said(log, r"(Registering worker)")
            yield url
        finally:
            worker.stop()
    finally:
        spark_master.stop()


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A packed environment: this one's packages without Tidemark, as editable installs are made known by ``site``.

    Its Python leaves a file behind where it is used.
    """
    script = tmp_path / "python3"
    packages = sysconfig.get_path("purelib")
    script.write_text(
        f'#!/bin/sh\ntouch {tmp_path}/used\nPYTHONPATH="$PYTHONPATH:{packages}" exec {sys.executable} -S "$@"\n'
    )
    script.chmod(0o755)
    for module, there in (("pyarrow", True), ("pyspark_kinesis", False), ("tidemark", False)):
        done = subprocess.run([str(script), "-c", f"import {module}"], capture_output=True, check=False)
        assert (done.returncode == 0) == there
    (tmp_path / "used").unlink()
    packed = tmp_path / "packed.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(script, "bin/python3")
    return packed


def test_a_stream_runs_on_the_cluster_with_the_code_and_the_python_of_the_bundle(
    settings: Settings, master: str, environment: Path, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "bundle", ensure_jars(settings, print), SPARK, settings, None)
    environment.rename(tmp_path / "bundle" / BUNDLE_ENVIRONMENT)
    with running_emulator() as endpoint:
        there = settings.model_copy(
            update={
                "kinesis_endpoint_url": endpoint,
                "spark_master": master,
                "spark_bundle": str(tmp_path / "bundle"),
                "spark_conf": {
                    "spark.sql.shuffle.partitions": "2",
                    "spark.databricks.delta.snapshotPartitions": "2",
                },
            }
        )
        client = kinesis_client(there)
        ensure_stream(client, clickstream)
        produce(client, clickstream, events(RECORDS))
        command = submit_command("stream", ["--pipeline", "clickstream", "--available-now"], there)
        done = subprocess.run(command, env=submit_environment(there), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[:6000] + done.stderr[-2000:]
    assert read(tables_of(clickstream, settings).bronze, settings).num_rows == RECORDS
    assert query(pin(clickstream, clickstream.rollup("activity"), settings)).num_rows > 0
    assert (tmp_path / "used").exists(), "executors run the Python of the bundle, the driver its own"
