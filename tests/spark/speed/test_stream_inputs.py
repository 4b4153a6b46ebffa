"""What the streams do where there is nothing to read, or nobody who lets them: a clear error, or an empty answer."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from layers import make_tables, read

from kinesis_emulator import running_emulator
from tidemark.core.errors import REFUSED, TRY_AGAIN
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import submit_command, submit_environment
from tidemark.lake.tables import tables_of
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client
from tidemark.serving import pin, query

ROLLUP = clickstream.rollup("activity")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
def url() -> Iterator[str]:
    with running_emulator() as endpoint:
        yield endpoint


def run(settings: Settings, endpoint: str, job: str = "stream", *arguments: str) -> subprocess.CompletedProcess[str]:
    here = settings.model_copy(update={"kinesis_endpoint_url": endpoint})
    command = submit_command(job, ["--pipeline", "clickstream", *(arguments or ["--available-now"])], here)
    environment = submit_environment(here)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why a job ended."""
    assert done.returncode in (REFUSED, TRY_AGAIN), done.stdout[-2000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    return line


def test_an_empty_stream_gives_an_empty_answer_and_an_empty_reprocess(settings: Settings, url: str) -> None:
    here = settings.model_copy(update={"kinesis_endpoint_url": url})
    ensure_stream(kinesis_client(here), clickstream)
    streamed = run(settings, url)
    assert streamed.returncode == 0, streamed.stdout[-3000:]
    tables = tables_of(clickstream, settings)
    assert all(read(table, settings).num_rows == 0 for table in (tables.bronze, *tables.refined))
    reprocessed = run(settings, url, "reprocess", "--from", "2026-01-01", "--to", "2026-01-02")
    assert reprocessed.returncode == 0, reprocessed.stdout[-3000:]
    assert query(pin(clickstream, ROLLUP, settings)).num_rows == 0


def test_a_stream_that_does_not_exist_is_named_with_the_remedy(settings: Settings, url: str) -> None:
    assert "create it, or correct streamName" in error_of(run(settings, url))


def test_an_endpoint_where_nobody_listens_is_named(settings: Settings) -> None:
    error = error_of(run(settings, "http://127.0.0.1:9"))
    assert "http://127.0.0.1:9" in error
    assert "Check that the endpoint is up" in error


def test_wrong_credentials_are_an_error_that_says_where_to_look(settings: Settings) -> None:
    with running_emulator(arguments=("--access-key", "another")) as endpoint:
        assert "check the credentials of the default AWS chain" in error_of(run(settings, endpoint))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_streams_with_the_reason_and_room_lets_them_go_on(
    settings: Settings, url: str, small_disk: Path
) -> None:
    from tidemark.pipelines.producers.clickstream import events
    from tidemark.pipelines.producers.producer import produce

    here = settings.model_copy(update={"kinesis_endpoint_url": url, "lake_uri": str(small_disk / "lake")})
    client = kinesis_client(here)
    ensure_stream(client, clickstream)
    make_tables(clickstream, here)
    records = 60_000
    produce(client, clickstream, events(records, seed=9))
    error = error_of(run(here, url))
    assert "No space left on device" in error
    assert "make room" in error
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    again = run(here, url)
    assert again.returncode == 0, again.stdout[-3000:]
    bronze = read(tables_of(clickstream, here).bronze, here)
    assert bronze.num_rows == records
    assert len(set(bronze["sequence_number"].to_pylist())) == records
    log = read(tables_of(clickstream, here).refine_log, here)
    assert sum(log["records"].to_pylist()) == records
