"""A stream's capacity: the steps from what it has to what is wanted, each taken once Kinesis is ready for it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from waits import until

from kinesis_emulator import running_emulator
from tidemark.core.errors import PreconditionError
from tidemark.definition import KinesisStream
from tidemark.pipelines.flights import flights
from tidemark.pipelines.producers import producer
from tidemark.pipelines.producers.capacity import Capacity, Wanted, advance, capacity
from tidemark.pipelines.producers.producer import ensure_stream


@pytest.fixture(scope="module")
def kinesis() -> Iterator[Any]:
    with running_emulator(arguments=("--create-milliseconds", "300")) as url:
        yield boto3.client(
            "kinesis", region_name="us-east-1", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b"
        )


def settle(kinesis: Any, stream: KinesisStream, wanted: Wanted) -> tuple[Capacity, list[Capacity]]:
    """Where it ends, and what the stream had at each look on the way."""
    seen: list[Any] = []

    def look() -> Capacity | None:
        after = advance(kinesis, stream, wanted)
        if after is None and (found := capacity(kinesis, stream.name)) not in seen:
            seen.append(found)
        return after

    return until(look, "the stream has the capacity", moves=lambda: len(seen)), seen


def test_a_stream_that_is_missing_is_created_as_its_definition_says_and_waited_for(kinesis: Any) -> None:
    assert capacity(kinesis, "fresh") is None
    after, seen = settle(kinesis, KinesisStream("fresh", shards=3), Wanted())
    assert after == Capacity("ACTIVE", "PROVISIONED", 3, 24)
    assert seen[0].status == "CREATING"
    assert advance(kinesis, KinesisStream("fresh", shards=7), Wanted()) == after, "what is there stays as it is"


def test_many_shards_are_reached_by_doubling_and_few_by_halving(kinesis: Any) -> None:
    stream = KinesisStream("doubled", shards=2)
    settle(kinesis, stream, Wanted())
    after, seen = settle(kinesis, stream, Wanted(shards=9, retention_hours=48))
    assert after == Capacity("ACTIVE", "PROVISIONED", 9, 48)
    assert [(each.shards, each.retention_hours) for each in seen] == [(4, 24), (8, 24), (9, 24), (9, 48)]
    after, seen = settle(kinesis, stream, Wanted(shards=1, retention_hours=24))
    assert (after.shards, after.retention_hours) == (1, 24)
    assert [each.shards for each in seen] == [5, 3, 2, 1, 1]


def test_a_stream_becomes_on_demand_and_back_and_has_no_shards_to_ask_for_meanwhile(kinesis: Any) -> None:
    stream = KinesisStream("demanded", shards=2)
    settle(kinesis, stream, Wanted())
    assert settle(kinesis, stream, Wanted("ON_DEMAND"))[0].mode == "ON_DEMAND"
    for wanted in (Wanted(shards=4), Wanted("ON_DEMAND", shards=4)):
        with pytest.raises(PreconditionError, match="leave Shards empty, or choose PROVISIONED"):
            advance(kinesis, stream, wanted)
    assert settle(kinesis, stream, Wanted("PROVISIONED", shards=4))[0] == Capacity("ACTIVE", "PROVISIONED", 4, 24)


def test_shards_of_a_new_stream_on_demand_are_refused_before_it_is_created(kinesis: Any) -> None:
    with pytest.raises(PreconditionError, match="leave Shards empty"):
        advance(kinesis, KinesisStream("never"), Wanted("ON_DEMAND", shards=4))
    assert capacity(kinesis, "never") is None
    assert settle(kinesis, KinesisStream("on_demand"), Wanted("ON_DEMAND"))[0].mode == "ON_DEMAND"


class Scripted:
    """A client of a stream that has one status after the other, and the last for good; None: it is missing.

    While it is missing, CreateStream succeeds, unless somebody else is quicker. AWS deletes for some seconds, which the
    emulator does not.
    """

    def __init__(self, *statuses: str | None, quicker: bool = False) -> None:
        self.created = 0
        self._statuses = list(statuses)
        self._quicker = quicker
        self.exceptions = SimpleNamespace(ResourceNotFoundException=Missing, ResourceInUseException=InUse)

    def describe_stream_summary(self, **_: str) -> Any:
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status is None:
            raise Missing({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeStreamSummary")
        found = {"StreamStatus": status, "OpenShardCount": 1, "RetentionPeriodHours": 24}
        return {"StreamDescriptionSummary": found | {"StreamModeDetails": {"StreamMode": "PROVISIONED"}}}

    def create_stream(self, **_: Any) -> None:
        if self._quicker:
            raise InUse({"Error": {"Code": "ResourceInUseException"}}, "CreateStream")
        self.created += 1


class Missing(ClientError):
    pass


class InUse(ClientError):
    pass


@pytest.mark.parametrize(
    ("statuses", "quicker", "created"),
    [
        (["DELETING", "DELETING", None, "CREATING", "ACTIVE"], False, 1),
        (["DELETING", None, None, "CREATING", "ACTIVE"], True, 0),
        ([None, "CREATING", "ACTIVE"], True, 0),
        (["CREATING", None, "ACTIVE"], False, 1),
        (["UPDATING"], False, 0),
    ],
)
def test_a_stream_that_is_being_deleted_or_made_is_waited_for(
    statuses: list[str | None], quicker: bool, created: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "_STREAM_POLL_SECONDS", 0)
    client: Any = Scripted(*statuses, quicker=quicker)
    assert ensure_stream(client, flights) is bool(created)
    assert client.created == created
    client = Scripted(*statuses, "ACTIVE", quicker=quicker)
    while (after := advance(client, flights.source, Wanted())) is None:
        pass
    assert after.status == "ACTIVE"
    assert client.created >= created


def test_a_stream_that_is_never_ready_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "_STREAM_SECONDS", 0)
    client: Any = Scripted("DELETING")
    with pytest.raises(PreconditionError, match="is DELETING for 0 s: try again"):
        ensure_stream(client, flights)
