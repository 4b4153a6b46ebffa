"""Spark 4.1, in an environment of its own: the Kinesis source as exactly once, and records parsed as on Spark 4.2."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pyarrow as pa
import pytest
from batch_files import Row, batches_of
from killing import SUPPORT, kill_at_seams, python_environment
from kinesis_streams import Stream
from parse_texts import parse_texts
from pyspark.sql import SparkSession

from kinesis_emulator import running_emulator
from tidemark.core.settings import get_settings

LOCK = Path(__file__).with_name("requirements.txt")
SEAMS = ("after-ledger", "before-commit", "after-commit")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with Spark 4.1, made from its lock on first use."""
    folder = get_settings().home.absolute() / "spark41"
    made = folder / "lock"
    if not made.exists() or made.read_text() != LOCK.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        interpreter = folder / "bin" / "python"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(interpreter), "--require-hashes", "-r", str(LOCK)]
        # Elsewhere than in the project, where uv would apply its pin of Spark, too.
        subprocess.run(install, cwd=tmp_path_factory.mktemp("elsewhere"), check=True)
        made.write_text(LOCK.read_text())
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_emulator(arguments=("--create-milliseconds", "0")) as endpoint:
        yield endpoint


def new_stream(url: str, shards: int = 1) -> Stream:
    stream = Stream(url)
    stream.client.create_stream(StreamName=stream.name, ShardCount=shards)
    return stream


def run(python: str, stream: Stream, folder: Path, times: int = 1, **options: str) -> list[list[Row]]:
    """Trigger.AvailableNow, some times one after the other; the batches that there are now."""
    run_all(python, [(stream, folder)], times, **options)
    return batches_of(folder / "out")


def run_all(python: str, queries: list[tuple[Stream, Path]], times: int = 1, **options: str) -> None:
    """The same for several queries at once, each of a stream and a folder."""
    [url] = {stream.url for stream, _ in queries}
    pairs = [f"{stream.name}:{folder}" for stream, folder in queries]
    command = [python, str(SUPPORT / "kinesis_query.py"), url, json.dumps(options), str(times), *pairs]
    done = subprocess.run(command, env=python_environment(python), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_each_once_in_order(stream: Stream, batches: list[list[Row]]) -> None:
    rows = [row for batch in batches for row in batch]
    assert Counter(value.encode() for _, _, value in rows) == Counter(stream.values)
    last: dict[str, int] = {}
    for shard, number, _ in rows:
        assert last.get(shard, 0) < int(number), f"out of order in {shard}"
        last[shard] = int(number)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def test_available_now_is_one_micro_batch_within_the_limits(python: str, url: str, tmp_path: Path) -> None:
    stream = new_stream(url, shards=2)
    stream.put(50)
    batches = run(python, stream, tmp_path, maxRecordsPerTrigger="20")
    assert [len(batch) for batch in batches] == [20]
    stream.resize(3)
    stream.put(10)
    # Children after their parents: each generation's part is the next micro-batch's, and 2 become 3 by way of 4.
    batches = run(python, stream, tmp_path, times=3)
    assert_each_once_in_order(stream, batches)


def test_a_named_consumer_is_subscribed_to_and_cleaned_up(python: str, url: str, tmp_path: Path) -> None:
    stream = new_stream(url, shards=2)
    stream.put(50)
    batches = run(python, stream, tmp_path, consumerName="forty-one")
    stream.put(50)
    batches = run(python, stream, tmp_path, consumerName="forty-one")
    assert len(batches) == 2
    assert_each_once_in_order(stream, batches)
    stats = json.loads(urlopen(f"{url}/_control/stats").read())["calls"]
    assert stats["RegisterStreamConsumer"] == stats["DeregisterStreamConsumer"] == 2
    assert stats["SubscribeToShard"] >= 2


def test_a_query_killed_at_a_seam_resumes_exactly(python: str, url: str, tmp_path: Path) -> None:
    streams = {seam: new_stream(url) for seam in SEAMS}
    for stream in streams.values():
        stream.put(50)
    kill_at_seams(python, url, tmp_path, [f"{seam}:{stream.name}" for seam, stream in streams.items()])
    for seam, stream in streams.items():
        done = len(list((tmp_path / seam / "out").glob("*.json")))
        assert done == {"after-ledger": 0, "before-commit": 1, "after-commit": 1}[seam]
        stream.put(50)
    run_all(python, [(stream, tmp_path / seam) for seam, stream in streams.items()], times=2)
    for seam, stream in streams.items():
        assert_each_once_in_order(stream, batches_of(tmp_path / seam / "out"))


def test_any_record_becomes_what_it_becomes_on_spark_42(python: str, spark: SparkSession, tmp_path: Path) -> None:
    # The driver takes from this environment what that one lacks; Spark and the workers are all of that one's.
    script, here = str(SUPPORT / "parse_texts.py"), str(Path(pa.__file__).parents[1])
    command = [python, script, "3", "1500", "Asia/Tokyo", str(tmp_path / "rows.arrow"), here]
    environment = python_environment(python)
    environment["PYTHONPATH"] += f"{os.pathsep}{SUPPORT.parents[1] / 'include'}"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = pa.ipc.open_file(tmp_path / "rows.arrow").read_all().to_pylist()
    assert str(found) == str(parse_texts(spark, 3, 1500).to_pylist()), "as text, in which one NaN equals another"
