"""The source by SubscribeToShard and by GetRecords: both in one Spark on one emulator, by turns.

Latency from put to foreachBatch of single records and at a steady rate, and records/s of a backlog.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from bench_kinesis_source import REGION, Bench, put, session

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.offsets.ledger import Ledger
from pyspark_kinesis.offsets.stores.store import LocalStore
from pyspark_kinesis.options.stream import parse
from pyspark_kinesis.reading.planner import Planner
from pyspark_kinesis.reading.rows import ARROW_SCHEMA
from pyspark_kinesis.reading.task import PartReader


def percentiles(seconds: list[float]) -> dict[str, int]:
    return {
        "p50_ms": round(statistics.median(seconds) * 1000),
        "p95_ms": round(statistics.quantiles(seconds, n=20)[-1] * 1000),
    }


def without_spark(url: str, client: Any, folder: Path, options: dict[str, str], number: int) -> list[float]:
    """Seconds from put to Arrow of single records, planned and read in this process, which asks as often as Spark."""
    given = {"streamName": "bench", "endpointUrl": url, "ledgerLocation": str(folder), "startingPosition": "LATEST"}
    parsed = parse({**given, **options})
    kinesis, ledger = KinesisClient(REGION, url), Ledger(LocalStore(folder))
    planner = Planner(kinesis, ledger, parsed)
    ages: list[float] = []
    at = planner.initial()
    at = planner.latest(at)  # pins where the shards start
    for n in range(-5, number):
        stop = time.perf_counter() + 1.0 + 0.037 * (n % 10)
        put_at, rows = 0.0, 0
        while not rows:
            if not put_at and time.perf_counter() >= stop:
                put_at = time.perf_counter()
                client.put_record(StreamName="bench", Data=b"1", PartitionKey=str(n))
            if (following := planner.latest(at)) != at:
                for part in planner.partitions(at, following):
                    reader = PartReader(kinesis, ledger, parsed, ARROW_SCHEMA, part)
                    rows += sum(batch.num_rows for batch in reader.read())
                at = following
                planner.commit(at)
            time.sleep(0.01)
        if n >= 0:
            ages.append(time.perf_counter() - 0.01 - put_at)
    planner.close()
    return ages


def main(
    records: Annotated[int, typer.Option(help="Records of the backlog.")] = 200_000,
    shards: Annotated[int, typer.Option(help="Shards of the stream.")] = 2,
    record_bytes: Annotated[int, typer.Option(help="Size of a record.")] = 200,
    batches: Annotated[int, typer.Option(help="Micro-batches of one record to measure in each round.")] = 15,
    spark_too: Annotated[bool, typer.Option("--spark/--no-spark", help="Whole queries as well.")] = True,
    rounds: Annotated[int, typer.Option(help="Times that each way has its turn.")] = 3,
) -> None:
    """Measure both by turns, and print one JSON object."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    ways: dict[str, dict[str, str]] = {"get_records": {}, "subscribe_to_shard": {"consumerName": "bench"}}
    result: dict[str, Any] = {"records": records, "shards": shards, "record_bytes": record_bytes}
    with running_emulator(arguments=("--create-milliseconds", "0")) as url, tempfile.TemporaryDirectory() as folder:
        client = boto3.client("kinesis", region_name=REGION, endpoint_url=url)
        client.create_stream(StreamName="bench", ShardCount=shards)
        put(client, "bench", records, record_bytes)
        alone: dict[str, list[float]] = {way: [] for way in ways}
        for n in range(rounds):
            for way, options in ways.items():
                alone[way] += without_spark(url, client, Path(folder) / f"alone-{way}-{n}", options, batches)
        result["put_to_arrow_without_spark"] = {way: percentiles(seconds) for way, seconds in alone.items()}
        if not spark_too:
            print(json.dumps(result, indent=2))
            return
        spark = session()
        bench = Bench(spark, url, "bench", Path(folder))
        bench.throughput({})  # warms the JVM and the Python workers
        rates: dict[str, list[int]] = {way: [] for way in ways}
        ages: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, options in ways.items():
                number, seconds = bench.throughput({**options, "maxGetRecordsPerSecond": "0"})
                rates[way].append(round(number / seconds))
                ages[way] += bench.single_records(client, batches, options)[0]
        for way, options in ways.items():
            result[way] = {
                "backlog_records_per_second": rates[way],
                "put_to_batch": percentiles(ages[way]),
                "at_100_a_second": bench.at_a_rate(client, 100, 20, options),
            }
        spark.stop()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
