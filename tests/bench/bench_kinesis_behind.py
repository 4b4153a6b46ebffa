"""Why a query is behind: its progress under each cause, one after the other, on an emulator that keeps AWS' limits.

Prints a line of JSON a cause: medians over the micro-batches of its second half. The figures of docs/kinesis/behind.md.
"""

import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from bench_kinesis_source import REGION, session
from botocore.exceptions import ClientError
from pyspark.sql import DataFrame, SparkSession

from kinesis_emulator import running_emulator

Sink = Callable[[DataFrame, int], None]


class Background:
    """Something done again and again in a thread, for the length of a ``with`` block."""

    def __init__(self, what: Callable[[], None], every_seconds: float) -> None:
        self._what, self._every, self._end = what, every_seconds, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.wait(self._every):
            self._what()

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def producer(client: Any, stream: str, keys: Callable[[int], str]) -> Callable[[], None]:
    """Puts 50 records of 200 bytes."""

    def put() -> None:
        records = [{"Data": b"x" * 200, "PartitionKey": keys(n)} for n in range(50)]
        client.put_records(StreamName=stream, Records=records)

    return put


def other_reader(client: Any, stream: str) -> Callable[[], None]:
    """Asks each shard for records, as a second consumer of the stream does."""
    shards = client.list_shards(StreamName=stream)["Shards"]
    where = {
        s["ShardId"]: client.get_shard_iterator(
            StreamName=stream, ShardId=s["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for s in shards
    }

    def read() -> None:
        for shard, iterator in where.items():
            try:
                where[shard] = client.get_records(ShardIterator=iterator)["NextShardIterator"]
            except ClientError as error:
                if error.response["Error"]["Code"] != "ProvisionedThroughputExceededException":
                    raise

    return read


def count(frame: DataFrame, _: int) -> None:
    frame.write.format("noop").mode("overwrite").save()


def slow(frame: DataFrame, _: int) -> None:
    """Ten milliseconds a record."""
    time.sleep(0.01 * frame.count())


def spread(n: int) -> str:
    return str(n)


def one_key(n: int) -> str:
    """Nine in ten of one key."""
    return "hot" if n % 10 else str(n)


def watch(
    spark: SparkSession, url: str, stream: str, sink: Sink, trigger: str | None, options: dict[str, str], batches: int
) -> dict[str, Any]:
    """Run a query for so many micro-batches; medians of the second half, and the lag at its begin and end."""
    with tempfile.TemporaryDirectory() as folder:
        reader = spark.readStream.format("kinesis").option("streamName", stream).option("endpointUrl", url)
        reader = reader.option("ledgerLocation", f"{folder}/ledger").options(**options)
        writer = reader.load().writeStream.foreachBatch(sink).option("checkpointLocation", f"{folder}/checkpoint")
        query = (writer.trigger(processingTime=trigger) if trigger else writer).start()
        seen: list[Any] = []
        while len(seen) < batches and not query.awaitTermination(1):
            seen = [p for p in query.recentProgress if p["numInputRows"]]
        query.stop()
    if (error := query.exception()) is not None:
        raise error
    half = seen[len(seen) // 2 :]
    shards = [json.loads(p["sources"][0]["latestOffset"]).values() for p in half]

    def middle(of: Callable[[dict[str, Any]], float]) -> int:
        return round(statistics.median(of(p) for p in half))

    return {
        "batches": len(seen),
        "inputRows": middle(lambda p: p["numInputRows"]),
        "inputRowsPerSecond": middle(lambda p: p.get("inputRowsPerSecond", 0)),
        "processedRowsPerSecond": middle(lambda p: p.get("processedRowsPerSecond", 0)),
        "latestOffset_ms": middle(lambda p: p["durationMs"].get("latestOffset", 0)),
        "addBatch_ms": middle(lambda p: p["durationMs"].get("addBatch", 0)),
        "trigger_ms": middle(lambda p: p["durationMs"]["triggerExecution"]),
        "behind_ms_half": [s["millisBehindLatest"] for s in shards[0]],
        "behind_ms_end": [s["millisBehindLatest"] for s in shards[-1]],
        "records_behind_end": [s.get("recordsBehind", 0) for s in shards[-1]],
        "calls": round(statistics.median(sum(s.get("getRecordsCalls", 0) for s in at) for at in shards)),
        "throttles": round(statistics.median(sum(s.get("throttles", 0) for s in at) for at in shards)),
    }


def main(
    batches: Annotated[int, typer.Option(help="How many micro-batches of each cause are watched.")] = 10,
    only: Annotated[str | None, typer.Option(help="Watch this cause only, after the warm-up.")] = None,
) -> None:
    """Two shards, 200 records/s of 200 bytes; a cause at a time."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    spark = session()
    limit = {"maxRecordsPerTrigger": "100"}
    causes: list[tuple[str, Sink, str | None, dict[str, str], Callable[[int], str], bool]] = [
        ("warm up", count, None, {}, spread, False),
        ("none", count, None, {}, spread, False),
        ("slow sink", slow, None, {"maxRecordsPerTrigger": "400"}, spread, False),
        ("limit", count, "2 seconds", limit, spread, False),
        ("long trigger", count, "8 seconds", {}, spread, False),
        ("hot key", count, "2 seconds", {"maxRecordsPerShardPerTrigger": "100"}, one_key, False),
        ("other readers", count, None, {}, spread, True),
    ]
    for cause, sink, trigger, options, keys, reader in causes:
        if only not in (None, cause) and cause != "warm up":
            continue
        with ExitStack() as stack:
            url = stack.enter_context(running_emulator(arguments=("--limits", "--create-milliseconds", "0")))
            client = boto3.client("kinesis", region_name=REGION, endpoint_url=url)
            client.create_stream(StreamName="bench", ShardCount=2)
            stack.enter_context(Background(producer(client, "bench", keys), 0.25))
            if reader:
                for _ in range(2):
                    stack.enter_context(Background(other_reader(client, "bench"), 0.2))
            found = watch(spark, url, "bench", sink, trigger, options, batches)
        print(json.dumps({"cause": cause, **found}), flush=True)
    print(json.dumps({"load": Path("/proc/loadavg").read_text().split()[:3]}))
    spark.stop()


if __name__ == "__main__":
    typer.run(main)
