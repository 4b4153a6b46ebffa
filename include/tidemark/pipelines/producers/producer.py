"""Puts events into a Kinesis stream at a chosen rate, and accounts for every record."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from tidemark.core.errors import DefinitionError, PreconditionError
from tidemark.core.settings import Settings
from tidemark.definition import Pipeline
from tidemark.pipelines.producers.capacity import capacity

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MAX_RECORDS_PER_PUT = 500
MAX_BYTES_PER_PUT = 5 * 2**20
"""Limits of the PutRecords call (AWS API reference); bytes with the partition keys."""

_STREAM_SECONDS = 60
_STREAM_POLL_SECONDS = 0.2

Event = dict[str, Any] | bytes


@dataclass
class Produced:
    """What was put: records and bytes acknowledged, records that had to be put again, and calls that were repeated.

    The records of a repeated call may be in the stream twice: only the answer may have been lost.
    """

    records: int = 0
    bytes: int = 0
    retried: int = 0
    repeated: int = 0
    done: bool = field(default=False)


class _UnacknowledgedError(Exception):
    """Some records of a call were throttled or failed; they are put again."""


def kinesis_client(settings: Settings) -> "KinesisClient":
    """A client with the default credential chain; retries are botocore's."""
    return boto3.client(
        "kinesis",
        region_name=settings.aws_region,
        endpoint_url=settings.kinesis_endpoint_url,
        config=Config(retries={"mode": "standard", "max_attempts": 8}, parameter_validation=False),
    )


def ensure_stream(client: "KinesisClient", pipeline: Pipeline) -> bool:
    """Create the pipeline's stream if it does not exist and wait until it takes records; True if it was created.

    One that is being deleted is waited for, and then created.

    Raises:
        PreconditionError: Kinesis cannot be reached or refuses the credentials, or it takes longer than a minute.
    """
    name, created, deadline = pipeline.source.name, False, time.monotonic() + _STREAM_SECONDS
    try:
        while (found := capacity(client, name)) is None or found.status not in ("ACTIVE", "UPDATING"):
            if found is None:
                created = _create(client, pipeline) or created
            if time.monotonic() >= deadline:
                status = found.status if found else "missing"
                raise PreconditionError(
                    f"stream {name!r} is {status} for {_STREAM_SECONDS} s: try again a little later"
                )
            time.sleep(_STREAM_POLL_SECONDS)
    except (BotoCoreError, ClientError) as error:
        raise PreconditionError(
            f"stream {name!r} cannot be opened: {error}; check TIDEMARK_KINESIS_ENDPOINT_URL, TIDEMARK_AWS_REGION and "
            "the AWS credentials"
        ) from error
    return created


def _create(client: "KinesisClient", pipeline: Pipeline) -> bool:
    try:
        client.create_stream(StreamName=pipeline.source.name, ShardCount=pipeline.source.shards)
    except client.exceptions.ResourceInUseException:  # somebody else has just created it, or still deletes it
        return False
    return True


def stream_data(client: "KinesisClient", stream: str) -> Iterator[bytes]:
    """The data of a stream's records from the oldest to its tip, which must not move meanwhile."""
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer: Mapping[str, Any] = client.get_records(ShardIterator=iterator)
            if "Records" not in answer:  # it was cut off on its way
                continue
            yield from (record["Data"] for record in answer["Records"])
            if not answer["Records"] and not answer.get("MillisBehindLatest"):
                break
            iterator = answer.get("NextShardIterator", "")


def sample_events(pipeline: Pipeline) -> Callable[..., Iterator[Event]]:
    """The function that the definition names as its source of sample events.

    Raises:
        DefinitionError: it names none, or one that does not exist.
    """
    if pipeline.sample is None:
        raise DefinitionError(f"pipeline {pipeline.name!r}", ["has no sample=: give events with --file"])
    module, _, function = pipeline.sample.partition(":")
    try:
        found: Callable[..., Iterator[Event]] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DefinitionError(f"pipeline {pipeline.name!r}", [f"sample={pipeline.sample!r} does not exist"]) from error
    return found


def partition_key(event: Event, pipeline: Pipeline) -> str:
    """The event's key columns, so that copies of one event land on one shard, in order."""
    if isinstance(event, bytes):
        return "broken"
    try:
        return "/".join(str(event.get(column)) for column in pipeline.key)[:256] or "empty"
    except RecursionError:  # arrays within arrays, a thousand deep, where the key should be
        return "broken"


def produce(
    client: "KinesisClient",
    pipeline: Pipeline,
    events: Iterable[Event],
    *,
    records_per_second: float | None = None,
    on_progress: Callable[[Produced], None] = lambda _: None,
    produced: Produced | None = None,
) -> Produced:
    """Put events in order, at most ``records_per_second``; returns when every record is acknowledged.

    At least once: a call whose answer was lost is repeated, and counted. Raises RetryError's cause after ten attempts.
    """
    records = (
        (event if isinstance(event, bytes) else orjson.dumps(event), partition_key(event, pipeline)) for event in events
    )
    produced = produced or Produced()
    return put_records(
        client,
        pipeline.source.name,
        records,
        produced,
        records_per_second=records_per_second,
        on_progress=on_progress,
    )


def put_records(
    client: "KinesisClient",
    stream: str,
    records: Iterable[tuple[bytes, str]],
    produced: Produced,
    *,
    records_per_second: float | None = None,
    on_progress: Callable[[Produced], None] = lambda _: None,
) -> Produced:
    """Put records, each its data and its partition key, as ``produce`` does; ``produced`` counts them meanwhile."""
    started = time.monotonic()
    size = (
        MAX_RECORDS_PER_PUT
        if records_per_second is None
        else int(min(MAX_RECORDS_PER_PUT, max(1, records_per_second / 10)))
    )
    for chunk in batched(records, size):
        if records_per_second is not None:
            ahead = produced.records / records_per_second - (time.monotonic() - started)
            if ahead > 0:
                time.sleep(ahead)  # pacing, not waiting for something
        _put(client, stream, [{"Data": data, "PartitionKey": key} for data, key in chunk], produced)
        on_progress(produced)
    produced.done = True
    return produced


def batched(records: Iterable[tuple[bytes, str]], size: int) -> Iterator[list[tuple[bytes, str]]]:
    """Records in lists of at most ``size``, and of no more bytes than a call may have, unless it is a single one."""
    chunk: list[tuple[bytes, str]] = []
    length = 0
    for data, key in records:
        more = len(data) + len(key.encode())
        if chunk and (len(chunk) == size or length + more > MAX_BYTES_PER_PUT):
            yield chunk
            chunk, length = [], 0
        chunk.append((data, key))
        length += more
    if chunk:
        yield chunk


def _put(client: "KinesisClient", stream: str, records: list[dict[str, Any]], produced: Produced) -> None:
    pending = records

    @retry(
        retry=retry_if_exception_type(_UnacknowledgedError),
        stop=stop_after_attempt(10),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        reraise=True,
    )
    def attempt() -> None:
        nonlocal pending
        answer: Mapping[str, Any] = client.put_records(StreamName=stream, Records=pending)  # type: ignore[arg-type]
        produced.repeated += answer["ResponseMetadata"].get("RetryAttempts", 0)
        if "Records" not in answer:  # it was cut off on its way, which boto3 takes for an empty one
            produced.repeated += 1
            raise _UnacknowledgedError("the answer to a call was cut off")
        answers = answer["Records"]
        failed = [record for record, answer in zip(pending, answers, strict=True) if answer.get("ErrorCode")]
        produced.records += len(pending) - len(failed)
        produced.retried += len(failed)
        pending = failed
        if failed:
            raise _UnacknowledgedError(f"{len(failed)} records were not acknowledged")

    attempt()
    produced.bytes += sum(len(record["Data"]) for record in records)
