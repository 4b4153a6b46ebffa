"""What fault schedules found, each as a test of its own."""

from collections.abc import Iterator

import http_calls
import pytest

from kinesis_emulator import running_emulator
from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import TRIM_HORIZON
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import IteratorExpiredError, RequestRefusedError
from pyspark_kinesis.options.stream import Options, Stream
from pyspark_kinesis.shards.cursor import Cursor
from pyspark_kinesis.shards.retention import Aging


@pytest.fixture(scope="module")
def paged_url() -> Iterator[str]:
    """An emulator that lists two shards a page."""
    with running_emulator(arguments=("--create-milliseconds", "0", "--shards-per-page", "2")) as url:
        client = KinesisClient("us-east-1", url)
        client.call("CreateStream", {"StreamName": "s", "ShardCount": 5})
        yield url


def inject(url: str, **fault: object) -> None:
    http_calls.post(f"{url}/_control/faults", json=[fault]).raise_for_status()


def test_a_list_of_shards_whose_token_expires_begins_anew(paged_url: str) -> None:
    client = KinesisClient("us-east-1", paged_url)
    inject(paged_url, operation="ListShards", kind="expire", calls=2)
    assert [shard.shard_id[-1] for shard in client.shards({"StreamName": "s"})] == ["0", "1", "2", "3", "4"]


def test_tokens_that_always_expire_are_an_error_in_the_end(paged_url: str) -> None:
    client = KinesisClient("us-east-1", paged_url)
    inject(paged_url, operation="ListShards", kind="expire")
    with pytest.raises(RequestRefusedError, match="ExpiredNextTokenException"):
        client.shards({"StreamName": "s"})


def test_an_iterator_that_expires_again_and_again_is_renewed_again(paged_url: str) -> None:
    # Seed 0 of the schedules: two expiries in a row ended the query.
    client = KinesisClient("us-east-1", paged_url)
    client.call("PutRecord", {"StreamName": "s", "Data": "AAAA", "PartitionKey": "k", "ExplicitHashKey": "0"})
    inject(paged_url, operation="GetRecords", kind="expire", calls=4)
    options = Options(streams=(Stream("s"),), region="us-east-1", endpoint_url=paged_url, ledger_location="unused")
    cursor = Cursor(client, options, "s/shardId-000000000000", TRIM_HORIZON, pace=Pace(0.0))
    assert len(cursor.fetch(10).records) == 1
    inject(paged_url, operation="GetRecords", kind="expire")
    with pytest.raises(IteratorExpiredError):
        cursor.fetch(10)


def test_an_iterator_that_expires_while_a_record_is_looked_for_is_renewed(paged_url: str) -> None:
    client = KinesisClient("us-east-1", paged_url)
    put = {"StreamName": "s", "Data": "AAAA", "PartitionKey": "k", "ExplicitHashKey": "0"}
    position = str(client.call("PutRecord", put)["SequenceNumber"])
    options = Options(streams=(Stream("s"),), region="us-east-1", endpoint_url=paged_url, ledger_location="unused")
    inject(paged_url, operation="GetRecords", kind="expire", calls=2)
    # Of unknown age: the record itself is asked for.
    assert Aging(client, options).check("s/shardId-000000000000", position, 0.0)
