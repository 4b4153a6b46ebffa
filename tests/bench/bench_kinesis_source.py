"""How fast the Kinesis source is, against a bare boto3 loop on the same emulator in the same run.

    python tests/bench/bench_kinesis_source.py --records 100000 --shards 2

Prints records/s of boto3's get_records loop, of the source's own fetch and decoding to Arrow, and of whole queries into
a noop foreachBatch; then the fixed cost of warm micro-batches of one record, and where it goes.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.request import urlopen

import boto3
import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.streaming.query import StreamingQuery

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.reading.rows import SCHEMA, to_arrow

REGION = "us-east-1"


def put(client: Any, stream: str, number: int, record_bytes: int) -> None:
    """Put records of a size, 500 at a time."""
    padding = "x" * max(0, record_bytes - 30)
    for start in range(0, number, 500):
        numbers = range(start, min(start + 500, number))
        records = [{"Data": json.dumps({"n": n, "p": padding}).encode(), "PartitionKey": str(n)} for n in numbers]
        client.put_records(StreamName=stream, Records=records)


def shard_ids(client: Any, stream: str) -> list[str]:
    return [shard["ShardId"] for shard in client.list_shards(StreamName=stream)["Shards"]]


def boto3_loop(url: str, stream: str) -> int:
    """Records read by the loop that everybody writes."""
    client: Any = boto3.client("kinesis", region_name=REGION, endpoint_url=url)
    number = 0
    for shard in shard_ids(client, stream):
        answer = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        iterator = answer["ShardIterator"]
        while True:
            answer = client.get_records(ShardIterator=iterator, Limit=10_000)
            number += len(answer["Records"])
            iterator = answer["NextShardIterator"]
            if not answer["MillisBehindLatest"]:
                break
    return number


def own_loop(url: str, stream: str) -> int:
    """Records read and made into Arrow by the source's client, without Spark."""
    client, number, schema = KinesisClient(REGION, url), 0, to_arrow_schema(SCHEMA, timezone="UTC")
    for shard in client.shards({"StreamName": stream}):
        iterator = client.iterator({"StreamName": stream}, shard.shard_id, "TRIM_HORIZON")
        while True:
            page = client.records(iterator, 10_000)
            number += to_arrow(page.records, stream, shard.shard_id, schema).num_rows
            if not page.behind_ms or page.following is None:
                break
            iterator = page.following
    return number


def session() -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for name in ("spark.driver.bindAddress", "spark.driver.host"):
        builder = builder.config(name, "127.0.0.1")
    spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


class Bench:
    """Queries over one stream, each with a checkpoint of its own."""

    def __init__(self, spark: SparkSession, url: str, stream: str, folder: Path) -> None:
        self.spark, self.url, self.stream, self.folder = spark, url, stream, folder
        self._number = 0

    def start(self, sink: Callable[[DataFrame, int], None], options: dict[str, str], **trigger: Any) -> StreamingQuery:
        self._number += 1
        folder = self.folder / str(self._number)
        reader = (
            self.spark.readStream.format("kinesis").option("streamName", self.stream).option("endpointUrl", self.url)
        )
        reader = reader.option("ledgerLocation", str(folder / "ledger")).options(**options)
        writer = reader.load().writeStream.foreachBatch(sink).option("checkpointLocation", str(folder / "checkpoint"))
        return (writer.trigger(**trigger) if trigger else writer).start()

    def throughput(self, options: dict[str, str]) -> tuple[int, float]:
        """(records, seconds) of a query over all there is; seconds of its triggers, without the query's start."""

        def noop(frame: DataFrame, _: int) -> None:
            frame.write.format("noop").mode("overwrite").save()

        query = self.start(noop, options, availableNow=True)
        query.awaitTermination()
        if (error := query.exception()) is not None:
            raise error
        progress = [p for p in query.recentProgress if p["numInputRows"]]
        seconds = sum(p["durationMs"]["triggerExecution"] for p in progress) / 1000
        return sum(p["numInputRows"] for p in progress), seconds

    def single_records(
        self, client: Any, number: int, options: dict[str, str] | None = None
    ) -> tuple[list[float], list[dict[str, int]]]:
        """(seconds from put to foreachBatch, phases of the triggers in ms) for records put one by one, warm."""
        arrived, begun = threading.Semaphore(0), threading.Event()

        def sink(frame: DataFrame, _: int) -> None:
            for _row in frame.collect():
                arrived.release()
            begun.set()

        query = self.start(sink, {"startingPosition": "LATEST", **(options or {})})
        # The first micro-batch runs in any case, and shows that LATEST is pinned.
        if not begun.wait(60):
            raise query.exception() or TimeoutError("the query did not start within 60 s")
        seconds: list[float] = []
        for n in range(number + 5):
            # Spread over the polling interval, as events are.
            time.sleep(1.0 + 0.037 * (n % 10))
            started = time.perf_counter()
            client.put_record(StreamName=self.stream, Data=b"1", PartitionKey=str(n))
            if not arrived.acquire(timeout=60):
                raise query.exception() or TimeoutError("a record did not arrive within 60 s")
            seconds.append(time.perf_counter() - started)
        phases = [p["durationMs"] for p in query.recentProgress if p["numInputRows"]]
        query.stop()
        return seconds[5:], phases[5:]

    def at_a_rate(
        self, client: Any, per_second: int, seconds: int, options: dict[str, str] | None = None
    ) -> dict[str, float]:
        """Put to foreachBatch at a steady rate, and GetRecords calls a second and shard; then idle triggers."""
        ages: list[float] = []
        begun = threading.Event()

        def sink(frame: DataFrame, _: int) -> None:
            rows = frame.select("data").collect()
            now = time.time()
            ages.extend(now - float(row.data) for row in rows)
            begun.set()

        self.spark.conf.set("spark.sql.streaming.noDataProgressEventInterval", "200")
        query = self.start(sink, {"startingPosition": "LATEST", **(options or {})}, processingTime="0 seconds")
        if not begun.wait(60):
            raise query.exception() or TimeoutError("the query did not start within 60 s")
        calls, started = self.get_records_calls(), time.perf_counter()
        for n in range(per_second * seconds):
            client.put_record(StreamName=self.stream, Data=repr(time.time()).encode(), PartitionKey=str(n))
            time.sleep(max(0.0, started + (n + 1) / per_second - time.perf_counter()))
        while len(ages) < per_second * seconds and query.exception() is None:
            time.sleep(0.05)
        rate = (self.get_records_calls() - calls) / (time.perf_counter() - started)
        query.awaitTermination(5)  # idle
        idle = [p["durationMs"]["triggerExecution"] for p in query.recentProgress[-10:] if not p["numInputRows"]]
        query.stop()
        warm = ages[per_second:]
        return {
            "p50_ms": round(statistics.median(warm) * 1000),
            "p95_ms": round(statistics.quantiles(warm, n=20)[-1] * 1000),
            "get_records_per_second_and_shard": round(rate / len(shard_ids(client, self.stream)), 1),
            "idle_trigger_ms_median": statistics.median(idle) if idle else -1,
        }

    def get_records_calls(self) -> int:
        """How many the emulator has answered."""
        calls = json.loads(urlopen(f"{self.url}/_control/stats").read())["calls"]
        return int(calls.get("GetRecords", 0))


def timed(name: str, run: Callable[[], int], result: dict[str, Any]) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    number = run()
    seconds = time.perf_counter() - started
    result[name] = {
        "records_per_second": round(number / seconds),
        "cpu_us_per_record": round((time.process_time() - cpu) / number * 1e6, 1),
    }


def main(
    records: Annotated[int, typer.Option(help="Records in the stream.")] = 100_000,
    shards: Annotated[int, typer.Option(help="Shards of the stream.")] = 2,
    record_bytes: Annotated[int, typer.Option(help="Size of a record.")] = 200,
    batches: Annotated[int, typer.Option(help="Micro-batches of one record to measure.")] = 20,
) -> None:
    """Measure, and print one JSON object."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    result: dict[str, Any] = {"records": records, "shards": shards, "record_bytes": record_bytes}
    with running_emulator(arguments=("--create-milliseconds", "0")) as url, tempfile.TemporaryDirectory() as folder:
        client = boto3.client("kinesis", region_name=REGION, endpoint_url=url)
        client.create_stream(StreamName="bench", ShardCount=shards)
        put(client, "bench", records, record_bytes)
        timed("boto3_loop", lambda: boto3_loop(url, "bench"), result)
        timed("fetch_to_arrow", lambda: own_loop(url, "bench"), result)
        spark = session()
        bench = Bench(spark, url, "bench", Path(folder))
        bench.throughput({})  # warms the JVM and the Python workers
        for name, options in (("source_unpaced", {"maxGetRecordsPerSecond": "0"}), ("source_default", {})):
            number, seconds = bench.throughput(options)
            result[name] = {"records_per_second": round(number / seconds), "records": number, "seconds": seconds}
        seconds_each, phases = bench.single_records(client, batches)
        result["one_record"] = {
            "put_to_batch_p50_ms": round(statistics.median(seconds_each) * 1000),
            "put_to_batch_p95_ms": round(statistics.quantiles(seconds_each, n=20)[-1] * 1000),
            "trigger_ms_median": {
                name: statistics.median(phase.get(name, 0) for phase in phases) for name in phases[0]
            },
        }
        result["at_100_a_second"] = bench.at_a_rate(client, 100, 20)
        spark.stop()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
