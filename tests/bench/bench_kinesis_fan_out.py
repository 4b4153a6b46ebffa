"""The source by SubscribeToShard and by GetRecords: both in one Spark on one emulator, by turns.

Latency from put to foreachBatch of single records and at a steady rate, and records/s of a backlog.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from bench_kinesis_source import REGION, Bench, put, session

from kinesis_emulator import running_emulator


def main(
    records: Annotated[int, typer.Option(help="Records of the backlog.")] = 200_000,
    shards: Annotated[int, typer.Option(help="Shards of the stream.")] = 2,
    record_bytes: Annotated[int, typer.Option(help="Size of a record.")] = 200,
    batches: Annotated[int, typer.Option(help="Micro-batches of one record to measure.")] = 30,
    rounds: Annotated[int, typer.Option(help="Times that the backlog is read, each way.")] = 3,
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
        spark = session()
        bench = Bench(spark, url, "bench", Path(folder))
        bench.throughput({})  # warms the JVM and the Python workers
        rates: dict[str, list[int]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, options in ways.items():
                number, seconds = bench.throughput({**options, "maxGetRecordsPerSecond": "0"})
                rates[way].append(round(number / seconds))
        for way, options in ways.items():
            seconds_each, phases = bench.single_records(client, batches, options)
            result[way] = {
                "backlog_records_per_second": rates[way],
                "put_to_batch_p50_ms": round(statistics.median(seconds_each) * 1000),
                "put_to_batch_p95_ms": round(statistics.quantiles(seconds_each, n=20)[-1] * 1000),
                "trigger_ms_median": {name: statistics.median(p.get(name, 0) for p in phases) for name in phases[0]},
                "at_100_a_second": bench.at_a_rate(client, 100, 20, options),
            }
        spark.stop()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
