"""How many records a second one core puts, against boto3's own put_records loop.

    python tests/bench/bench_kinesis_writer.py

A process of its own takes PutRecords calls over HTTP and answers that all was stored, at once or some milliseconds
later, so that only the writer's side is measured. Each round puts the same records by boto3's loop as users write it
(500 a call, its dicts made of values that are there already), and by the writer's Putter from Arrow batches of 10,000
rows with one call and with four in flight, one after the other on one core; ratios are taken within a round, and their
median counts. CPU is the writer's process alone.
"""

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import boto3
import pyarrow as pa
import typer
from bench_kinesis_decode import REGION, event
from pyspark.sql.types import BinaryType, StringType, StructField, StructType
from side_by_side import CannedHandler, canned_server, interleaved, serve, summary

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.options.put import parse_put
from pyspark_kinesis.sink.put_records import Putter

ROWS = StructType([StructField("data", BinaryType()), StructField("partitionKey", StringType())])
# (records, bytes a record, milliseconds until an answer)
CASES = {
    "200 B": (50_000, 200, 0),
    "2 kB": (10_000, 2_000, 0),
    "200 B, answers after 10 ms": (50_000, 200, 10),
}
_BATCH_ROWS = 10_000


class _Handler(CannedHandler):
    """Answers each call for as many records as it has, after as many milliseconds as its stream's name says."""

    def answer(self, body: bytes) -> bytes:
        name = body.partition(b"after-")[2]
        time.sleep(int(name[: name.index(b'"')]) / 1000)
        stored = b'{"SequenceNumber":"%d","ShardId":"shardId-000000000000"}' % (2**185 + len(body))
        records = b",".join([stored] * body.count(b'"PartitionKey"'))
        return b'{"EncryptionType":"NONE","FailedRecordCount":0,"Records":[%b]}' % records


def boto3_loop(client: Any, stream: str, values: list[bytes], keys: list[str]) -> int:
    """Records put by the loop that everybody writes."""
    number = 0
    for start in range(0, len(values), 500):
        pairs = zip(values[start : start + 500], keys[start : start + 500], strict=True)
        answer = client.put_records(
            StreamName=stream, Records=[{"Data": value, "PartitionKey": key} for value, key in pairs]
        )
        number += len(answer["Records"]) - answer["FailedRecordCount"]
    return number


def own_loop(client: KinesisClient, stream: str, batches: list[pa.RecordBatch], in_flight: int) -> int:
    """Records that a task of the writer puts of the same."""
    given = {"streamName": stream, "requestsInFlight": str(in_flight)}
    return Putter(parse_put(given, ROWS), client).put(iter(batches)).records


def compare(url: str, case: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    """Medians over interleaved rounds; the ratios are boto3's time over ours, of the same round."""
    records, size, milliseconds = case
    stream = f"after-{milliseconds}"
    values, keys = [event(n, size) for n in range(records)], [str(n) for n in range(records)]
    table = pa.table({"data": pa.array(values, pa.binary()), "partitionKey": pa.array(keys, pa.string())})
    batches = table.to_batches(max_chunksize=_BATCH_ROWS)
    theirs = boto3.client("kinesis", region_name=REGION, endpoint_url=url)
    own = KinesisClient(REGION, url)
    loops: dict[str, Callable[[], int]] = {
        "boto3": lambda: boto3_loop(theirs, stream, values, keys),
        "putter_1_in_flight": lambda: own_loop(own, stream, batches, 1),
        "putter_4_in_flight": lambda: own_loop(own, stream, batches, 4),
    }
    return summary(interleaved(loops, records, rounds), "boto3")


def main(
    rounds: Annotated[int, typer.Option(help="Interleaved repetitions.")] = 5,
    only: Annotated[str, typer.Option(help="Cases whose name contains this.")] = "",
    canned: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure, and print one JSON object."""
    if canned:
        serve(_Handler)
        return
    with canned_server(__file__) as url:
        result = {name: compare(url, case, rounds) for name, case in CASES.items() if only in name}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
