"""The spark-submit jobs, run as the DAGs run them, on real flights."""

import subprocess
from collections.abc import Callable
from itertools import islice

import orjson
import pytest
from layers import kinesis_records, make_tables, read

from tidemark.core.errors import REFUSED
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import RESULT, submit_command, submit_environment
from tidemark.lake.tables import tables_of
from tidemark.monitoring.check_results import newest
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers.flights import events
from tidemark.serving import pin, query
from tidemark_spark.speed.ingest import BronzeSink


@pytest.fixture
def run(settings: Settings) -> Callable[..., subprocess.CompletedProcess[str]]:
    def submit(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = submit_command(job, ["--pipeline", "flights", *arguments], settings)
        return subprocess.run(command, env=submit_environment(settings), capture_output=True, text=True, check=False)

    return submit


def test_reprocess_compact_and_validate_keep_every_answer(
    settings: Settings, refine: Callable[..., None], run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    make_tables(flights, settings)
    sink = BronzeSink(flights, settings, lambda: "q")
    source = events(4_000)
    for batch_id in range(10):
        sink.write(kinesis_records(islice(source, 400), batch_id * 400), batch_id)
    refine(flights)
    rollups = {rollup.name: query(pin(flights, rollup, settings)) for rollup in flights.rollups}
    dates = ("--from", "2013-01-01", "--to", "2013-01-04")

    done = run("reprocess", *dates)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "covered through segment" in done.stdout
    for rollup in flights.rollups:
        snapshot = pin(flights, rollup, settings)
        assert query(snapshot, layer="batch").num_rows > 0
        assert query(snapshot) == rollups[rollup.name]

    compacted = run("compact")
    assert compacted.returncode == 0, compacted.stderr[-2000:]
    [told] = [line for line in compacted.stdout.splitlines() if line.startswith(RESULT)]
    figures = orjson.loads(told.removeprefix(RESULT))
    assert figures["compacted"].keys() == {"bronze"}, "the others have few small files"
    assert (figures["compacted"]["bronze"]["files_removed"], figures["compacted"]["bronze"]["files_after"]) == (10, 1)
    assert figures["vacuumed"] == {}, "all that is there is young"
    assert len(set(read(tables_of(flights, settings).silver, settings)["sequence_number"].to_pylist())) == 4_000
    assert all(query(pin(flights, rollup, settings)) == rollups[rollup.name] for rollup in flights.rollups)

    checked = run("validate", *dates)
    assert checked.returncode == 0, checked.stdout[-3000:] + checked.stderr[-2000:]
    assert "passed" in checked.stdout
    assert "FAILED" not in checked.stdout
    assert (settings.data_docs_dir / "index.html").exists()
    kept = newest(tables_of(flights, settings), settings)
    assert {row["stage"] for row in kept} == {"published"}
    assert len(kept) == len(newest(tables_of(flights, settings), settings, "staged slice"))

    empty = run("validate", "--from", "1999-01-01", "--to", "1999-01-02")
    assert empty.returncode == REFUSED, "a slice without rows breaks the row count"
    assert "expect_table_row_count_to_be_between" in empty.stdout, "a driver's stderr goes to spark-submit's stdout"


def test_a_range_that_is_none_is_refused_before_anything_starts(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run("reprocess", "--from", "2013-01-04", "--to", "2013-01-01")
    assert done.returncode == REFUSED
    assert "is empty" in done.stdout
