"""A stream of the emulator that remembers what was put into it."""

import uuid
from dataclasses import dataclass, field
from typing import Any

import boto3


@dataclass
class Stream:
    """A stream of the emulator, with what was put into it."""

    url: str
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    values: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = boto3.client(
            "kinesis",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def put(self, number: int) -> None:
        """Put the next ``number`` values, under keys that spread over the shards."""
        values = [str(len(self.values) + n).encode() for n in range(number)]
        records = [{"Data": value, "PartitionKey": value.decode()} for value in values]
        for start in range(0, number, 500):
            self.client.put_records(StreamName=self.name, Records=records[start : start + 500])
        self.values += values

    def put_large(self, number: int, size: int) -> None:
        """Put values of so many bytes, one a call."""
        for _ in range(number):
            value = str(len(self.values)).encode().ljust(size, b".")
            self.client.put_record(StreamName=self.name, Data=value, PartitionKey=str(len(self.values)))
            self.values.append(value)

    def resize(self, shards: int) -> None:
        self.client.update_shard_count(StreamName=self.name, TargetShardCount=shards, ScalingType="UNIFORM_SCALING")

    def records(self) -> list[dict[str, Any]]:
        """All records of all shards with their ShardId, each shard's in order, as boto3 reads them."""
        found = []
        for shard in self.client.list_shards(StreamName=self.name)["Shards"]:
            arguments = {"StreamName": self.name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator = self.client.get_shard_iterator(**arguments)["ShardIterator"]
            while iterator:
                answer = self.client.get_records(ShardIterator=iterator)
                found += [{**record, "ShardId": shard["ShardId"]} for record in answer["Records"]]
                iterator = answer["MillisBehindLatest"] and answer.get("NextShardIterator")
        return found
