"""``tidemark demo`` on few flights: the whole main job, its proof, --keep, and nothing left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import http_calls
import httpx
import psutil

from tidemark.core.settings import get_settings
from tidemark.core.waiting import wait_for

COMMAND = str(Path(sys.executable).with_name("tidemark"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_kept_demo_proves_its_answer_serves_its_addresses_and_leaves_nothing_behind(tmp_path: Path) -> None:
    kinesis, airflow = free_port(), free_port()
    environment = {
        **os.environ, "TIDEMARK_HOME": str(tmp_path / "home"), "TIDEMARK_JARS_DIR": str(get_settings().jars_dir),
        "COLUMNS": "160",
    }  # fmt: skip
    ports = ["--kinesis-port", str(kinesis), "--airflow-port", str(airflow)]
    log = tmp_path / "demo.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [COMMAND, "demo", "--records", "3000", "--rate", "1000", "--keep", *ports],
            stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
    family = {}
    try:

        def kept() -> bool:
            assert demo.poll() is None, log.read_text()[-4000:]
            family.update({process.pid: process for process in psutil.Process(demo.pid).children(recursive=True)})
            return "until you press ^C" in log.read_text()

        # Its own waits end when nothing moves; without a terminal it says a line every ten seconds.
        wait_for(kept, "the demo is done", depends_on=[], moves=lambda: log.stat().st_size, every_seconds=0.5)
        shown = log.read_text()
        assert "flights.reprocess succeeded" in shown
        assert "departures_daily" in shown
        assert "unknown origin" in shown, "the account shows what was put and found, by kind"
        assert " NO " not in shown, shown[-4000:]
        assert http_calls.get(f"http://127.0.0.1:{airflow}/api/v2/monitor/health").status_code == httpx.codes.OK
        assert http_calls.get(f"http://127.0.0.1:{kinesis}/").status_code < 500
        family |= {process.pid: process for process in psutil.Process(demo.pid).children(recursive=True)}
        assert len(family) > 5, "Airflow, the streams and the emulator are processes of their own"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=90) == 130
        _, alive = psutil.wait_procs(list(family.values()), timeout=10)
        assert not alive
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            demo.wait(timeout=90)


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {**os.environ, "TIDEMARK_HOME": str(tmp_path), "COLUMNS": "200"}
        command = [COMMAND, "demo", "--kinesis-port", str(port)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"port {port}, for the Kinesis emulator, is taken" in done.stderr
    assert "choose another port with --kinesis-port" in done.stderr
    assert not (tmp_path / "demo" / "logs").exists()
