"""How many records a second one core makes into Arrow, against boto3's own get_records loop.

    python tests/bench/bench_kinesis_decode.py

A process of its own answers GetRecords with canned bytes over HTTP, as AWS writes them, so that only the reader's side
is measured. Each round runs boto3's loop as users write it (default client), the same with a raw timestamp parser, and
the source's fetch to Arrow, one after the other on one core; ratios are taken within a round, and their median counts.
CPU is the reader's process alone. boto3 does not split aggregates: its figures there are for aggregates handed on
whole, divided by the user records inside.
"""

import base64
import hashlib
import json
import random
from collections.abc import Callable
from typing import Annotated, Any

import boto3
import typer
from botocore.session import get_session
from pyspark.sql.pandas.types import to_arrow_schema
from side_by_side import CannedHandler, canned_server, interleaved, serve, summary

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.kpl import MAGIC
from pyspark_kinesis.reading.rows import SCHEMA, to_arrow

REGION = "us-east-1"
# (records a page, bytes a record, user records an aggregate or 0 for none)
CASES = {
    "1000 x 200 B": (1_000, 200, 0),
    "10000 x 200 B": (10_000, 200, 0),
    "1000 x 2 kB": (1_000, 2_000, 0),
    "4000 x 2 kB": (4_000, 2_000, 0),
    "200 aggregates of 50 x 200 B": (200, 200, 50),
}


def event(number: int, size: int) -> bytes:
    """A JSON event of about this size; not all alike, so that lengths differ as in real streams."""
    chance = random.Random(number)
    value = {"event_id": f"{chance.getrandbits(128):032x}", "user": chance.randrange(10**6), "page": "/products/"}
    value["note"] = "".join(chance.choices("abcdefghij klmnopqrst", k=max(0, size - 90 + chance.randrange(3))))
    return json.dumps(value).encode()


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def aggregate(events: list[bytes]) -> bytes:
    """As the Kinesis Producer Library packs them, each with a partition key of its own."""

    def field(number: int, value: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(value)) + value

    message = b"".join(field(1, str(n).encode()) for n in range(len(events)))
    for n, data in enumerate(events):
        message += field(3, varint(1 << 3) + varint(n) + field(3, data))
    return MAGIC + message + hashlib.md5(message).digest()


def page(records: int, size: int, aggregated: int) -> bytes:
    """A whole answer; its iterator leads to itself."""
    case = f"{records}/{size}/{aggregated}"
    parts = []
    for n in range(records):
        data = aggregate([event(n * aggregated + k, size) for k in range(aggregated)]) if aggregated else event(n, size)
        sequence = 49590338271490256608559692538361571095921575989136588898 + n * 1_048_583
        parts.append(
            f'{{"ApproximateArrivalTimestamp":1.7{n:08d}{n % 1000:03d}E9,"Data":"{base64.b64encode(data).decode()}",'
            f'"PartitionKey":"{n}","SequenceNumber":"{sequence}"}}'
        )
    head = f'{{"MillisBehindLatest":1000,"NextShardIterator":"{case}","Records":['
    return (head + ",".join(parts) + "]}").encode()


class _Handler(CannedHandler):
    """Answers any request with the page that its iterator names."""

    pages: dict[str, bytes]

    def answer(self, body: bytes) -> bytes:
        return self.pages[json.loads(body)["ShardIterator"]]


def boto3_client(url: str, *, raw_timestamps: bool) -> Any:
    session = get_session()
    if raw_timestamps:
        factory = session.get_component("response_parser_factory")
        factory.set_parser_defaults(timestamp_parser=lambda value: value)
    return boto3.session.Session(botocore_session=session).client("kinesis", region_name=REGION, endpoint_url=url)


def boto3_loop(client: Any, iterator: str, pages: int) -> int:
    """Records read by the loop that everybody writes."""
    number = 0
    for _ in range(pages):
        answer = client.get_records(ShardIterator=iterator, Limit=10_000)
        number += len(answer["Records"])
        iterator = answer["NextShardIterator"]
    return number


def own_loop(client: KinesisClient, iterator: str, pages: int) -> int:
    """Rows that the source's client and decoder make of the same pages."""
    number, schema = 0, to_arrow_schema(SCHEMA, timezone="UTC")
    for _ in range(pages):
        answer = client.records(iterator, 10_000)
        number += to_arrow(answer.records, "bench", "shardId-000000000000", schema).num_rows
        iterator = str(answer.following)
    return number


def compare(url: str, case: tuple[int, int, int], rounds: int, pages: int) -> dict[str, Any]:
    """Medians over interleaved rounds; the ratios are boto3's time over ours, of the same round."""
    count, size, inner = case
    iterator, each = f"{count}/{size}/{inner}", max(1, inner)
    plain, raw = (boto3_client(url, raw_timestamps=flag) for flag in (False, True))
    own = KinesisClient(REGION, url)
    loops: dict[str, Callable[[], int]] = {
        "boto3": lambda: boto3_loop(plain, iterator, pages) * each,
        "boto3_raw_timestamps": lambda: boto3_loop(raw, iterator, pages) * each,
        "fetch_to_arrow": lambda: own_loop(own, iterator, pages),
    }
    return summary(interleaved(loops, count * each * pages, rounds), "boto3")


def main(
    rounds: Annotated[int, typer.Option(help="Interleaved repetitions.")] = 7,
    pages: Annotated[int, typer.Option(help="Pages of 10,000 records a loop reads; more of smaller ones.")] = 3,
    only: Annotated[str, typer.Option(help="Cases whose name contains this.")] = "",
    canned: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure, and print one JSON object."""
    if canned:
        _Handler.pages = {f"{n}/{size}/{inner}": page(n, size, inner) for n, size, inner in CASES.values()}
        serve(_Handler)
        return
    with canned_server(__file__) as url:
        result = {
            name: compare(url, case, rounds, max(1, pages * 10_000 // (case[0] * max(1, case[2]))))
            for name, case in CASES.items()
            if only in name
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
