"""What the two streams cost: freshness at a rate, one record alone, and throughput over a backlog.

    python tests/bench/bench_streams.py

Everything runs on this machine, against the emulator, in one go; the baseline is a bare boto3 GetRecords loop over the
same stream. Machines are noisy: read the ratios.
"""

import json
import os
import re
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table as RichTable

from kinesis_emulator import running_emulator
from tidemark.core.processes import Child
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import submit_command, submit_environment
from tidemark.core.spark_start.jars import ensure_jars
from tidemark.definition import Pipeline
from tidemark.lake.evolution import create_tables
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import Table, tables_of
from tidemark.lake.transaction_ids import INGEST_APP, REFINE_APP
from tidemark.pipelines.clickstream import clickstream
from tidemark.pipelines.producers.clickstream import events
from tidemark.pipelines.producers.producer import ensure_stream, kinesis_client, produce
from tidemark.serving import pin

ROLLUP = clickstream.rollup("activity")


@dataclass
class Watch(threading.Thread):
    """Notes when a table's position becomes visible to a reader: (seconds since the epoch, position)."""

    table: Table
    settings: Settings
    app_id: str
    seen: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._end = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        snapshot = open_table(self.table, self.settings)
        ending = False
        while not ending:
            ending = self._end.wait(0.02)  # one last look at the end
            snapshot.update_incremental()
            at = position(snapshot, self.app_id)
            if not self.seen or self.seen[-1][1] != at:
                self.seen.append((time.time(), at))

    def finish(self) -> list[tuple[float, int]]:
        """Stop, and give what was seen."""
        self._end.set()
        self.join()
        return self.seen


def ages(seen: list[tuple[float, int]], table: Table, settings: Settings, since: datetime) -> np.ndarray[Any, Any]:
    """Seconds from arrival in Kinesis to visibility, of every record that arrived after ``since``."""
    columns = ["ingest_batch", "approximate_arrival_timestamp"]
    rows = open_table(table, settings).to_pyarrow_dataset().to_table(columns=columns)
    rows = rows.filter(pc.greater(rows[columns[1]], pa.scalar(since, rows[columns[1]].type)))
    arrivals = rows[columns[1]].cast(pa.int64()).to_numpy() / 1e6
    times = np.array([when for when, _ in seen])
    index = np.searchsorted(np.array([at for _, at in seen]), rows["ingest_batch"].to_numpy())
    return np.asarray(times[index] - arrivals)


def until_refined(
    pipeline: Pipeline, settings: Settings, records: int, driver: Child, limit_seconds: float = 240
) -> None:
    """Wait until refine has passed this many records."""
    tables = tables_of(pipeline, settings)
    deadline = time.monotonic() + limit_seconds
    while True:
        driver.check()
        bronze = open_table(tables.bronze, settings)
        rows = pc.sum(pa.table(bronze.get_add_actions(flatten=True))["num_records"]).as_py() or 0
        if rows >= records and pin(pipeline, ROLLUP, settings).position >= position(bronze, INGEST_APP):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{rows} of {records} records after {limit_seconds} s")
        time.sleep(0.05)


def warm_rate(watch: Watch, bronze: Table, settings: Settings) -> float:
    """Records a second over the second half of a backlog, as one stream made it visible."""
    rows = open_table(bronze, settings).to_pyarrow_dataset().to_table(columns=["ingest_batch"])["ingest_batch"]
    in_batch = np.bincount(rows.to_numpy())
    steps = [(when, in_batch[: at + 1].sum()) for when, at in watch.seen if at >= 0]
    begin = next(n for n, (_, records) in enumerate(steps) if records >= steps[-1][1] / 2)
    if begin == len(steps) - 1:
        return float("nan")
    return float((steps[-1][1] - steps[begin][1]) / (steps[-1][0] - steps[begin][0]))


def fixed_costs(log: str) -> list[tuple[str, str]]:
    """Median milliseconds of each step of a micro-batch, from what the driver logged of the last ones."""
    lines: dict[str, list[dict[str, float]]] = {}
    for word, facts in re.findall(r"(progress|ingested|refined) (\{.*\})$", log, flags=re.MULTILINE):
        said = json.loads(facts)
        name = f"micro-batch of {said['query'].split('.')[1]}" if word == "progress" else f"  its sink, {word}"
        lines.setdefault(name, []).append(said["ms"])
    rows = []
    for name, found in sorted(lines.items(), key=lambda line: line[0].strip()):
        steps = {step: float(np.median([ms.get(step, 0.0) for ms in found])) for step in found[-1]}
        shown = ", ".join(
            f"{step} {ms:.0f}" for step, ms in sorted(steps.items(), key=lambda item: -item[1]) if ms >= 1
        )
        rows.append((f"{name}, {len(found)} of them, median ms", shown))
    return rows


def baseline(settings: Settings) -> tuple[int, float]:
    """Records and seconds of a bare boto3 loop over all shards, from the beginning."""
    client = kinesis_client(settings)
    began, records = time.perf_counter(), 0
    name = clickstream.source.name
    for shard in client.list_shards(StreamName=name)["Shards"]:
        answer = client.get_shard_iterator(StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        token = answer["ShardIterator"]
        while True:
            got = client.get_records(ShardIterator=token)
            records += len(got["Records"])
            if got["MillisBehindLatest"] == 0:
                break
            token = got["NextShardIterator"]
    return records, time.perf_counter() - began


def main(
    backlog: Annotated[int, typer.Option(help="Records of the throughput run.")] = 200_000,
    seconds: Annotated[int, typer.Option(help="Length of each freshness run.")] = 30,
    rates: Annotated[str, typer.Option(help="Events a second of the freshness runs.")] = "1000,5000",
    single: Annotated[int, typer.Option(help="How many records are put one at a time.")] = 20,
) -> None:
    """Measure the streams of clickstream."""
    console = Console(width=120)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    result = RichTable("figure", "value", title="Streams of clickstream, one driver, local[2]", title_justify="left")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        endpoint = stack.enter_context(running_emulator())
        settings = Settings(lake_uri=f"{folder}/lake", state_uri=f"{folder}/state", kinesis_endpoint_url=endpoint)
        ensure_jars(settings, console.print)
        tables = tables_of(clickstream, settings)
        create_tables(tables, settings)
        client = kinesis_client(settings)
        ensure_stream(client, clickstream)
        source = events(seed=5)
        put = 0

        def send(count: int, rate: float | None) -> None:
            nonlocal put
            produce(client, clickstream, (next(source) for _ in range(count)), records_per_second=rate)
            put += count

        console.print(f"putting a backlog of {backlog:,} records …")
        send(backlog, None)
        records, took = baseline(settings)
        bare = records / took
        result.add_row("boto3 GetRecords loop, records/s", f"{bare:,.0f}")
        watches = [Watch(tables.bronze, settings, INGEST_APP), Watch(tables.silver, settings, REFINE_APP)]
        for watch in watches:
            watch.start()
        command = submit_command("stream", ["--pipeline", "clickstream"], settings)
        began = time.time()
        driver = Child("streams", command, folder / "streams.log", submit_environment(settings))
        stack.callback(driver.stop)
        until_refined(clickstream, settings, put, driver)
        for name, watch in zip(("bronze", "silver"), watches, strict=True):
            seen = [when for when, at in watch.finish() if at >= 0]
            total = put / (seen[-1] - began)
            warm = warm_rate(watch, tables.bronze, settings)
            result.add_row(f"backlog to {name}, records/s from the driver's cold start", f"{total:,.0f}")
            result.add_row("  against the boto3 loop", f"{total / bare:.2f}")
            result.add_row("  first rows after, s", f"{seen[0] - began:.1f}")
            result.add_row("  warm: after the first half of it, records/s", f"{warm:,.0f}")
            result.add_row("  warm, against the boto3 loop", f"{warm / bare:.2f}")
        speed = tables.speed[ROLLUP.name]
        for rate in (int(text) for text in rates.split(",")):
            console.print(f"{seconds} s at {rate:,} events/s …")
            watch = Watch(speed, settings, REFINE_APP)
            watch.start()
            since = datetime.now(UTC)
            send(rate * seconds, rate)
            until_refined(clickstream, settings, put, driver)
            age = ages(watch.finish(), tables.bronze, settings, since)
            p50, p95 = np.percentile(age, [50, 95])
            result.add_row(f"freshness at {rate:,}/s: p50, p95, worst (s)", f"{p50:.2f}, {p95:.2f}, {age.max():.2f}")
        console.print(f"{single} records, one at a time …")
        said_before = driver.log.stat().st_size
        watch = Watch(speed, settings, REFINE_APP)
        watch.start()
        since = datetime.now(UTC)
        for _ in range(single):
            send(1, None)
            until_refined(clickstream, settings, put, driver)
        age = ages(watch.finish(), tables.bronze, settings, since)
        p50, p95 = np.percentile(age, [50, 95])
        result.add_row("one record alone, put to visible: p50, p95 (s)", f"{p50:.2f}, {p95:.2f}")
        for row in fixed_costs(driver.log.read_bytes()[said_before:].decode()):
            result.add_row(*row)
    console.print(result)


if __name__ == "__main__":
    typer.run(main)
