"""What a pipeline's Kinesis stream can carry, and for how long it keeps records; and the steps from one to another."""

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from botocore.exceptions import ClientError

from tidemark.core.errors import PreconditionError
from tidemark.definition import KinesisStream

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

Mode = Literal["PROVISIONED", "ON_DEMAND"]


class Capacity(NamedTuple):
    """A stream at one moment."""

    status: str
    """Kinesis' own: CREATING, UPDATING, ACTIVE or DELETING."""
    mode: Mode
    shards: int
    """Open ones."""
    retention_hours: int


class Wanted(NamedTuple):
    """What a stream shall have; None: what it has, and a new one what its definition or else Kinesis says."""

    mode: Mode | None = None
    shards: int | None = None
    retention_hours: int | None = None


def capacity(client: "KinesisClient", name: str) -> Capacity | None:
    """The capacity of a stream; None if there is no such stream."""
    try:
        found = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    except client.exceptions.ResourceNotFoundException:
        return None
    mode: Mode = found["StreamModeDetails"]["StreamMode"]
    return Capacity(found["StreamStatus"], mode, found["OpenShardCount"], found["RetentionPeriodHours"])


def advance(client: "KinesisClient", stream: KinesisStream, wanted: Wanted) -> Capacity | None:
    """Take the next step from what a stream has to what is wanted of it; None while it is on its way.

    Called again and again it comes to an end, with the capacity; once there, it changes nothing. Kinesis at most
    doubles or halves the shards at a time, so that a large change takes several steps.

    Raises:
        PreconditionError: it cannot come to that; the message says why. The steps taken before stay.
    """
    found = capacity(client, stream.name)
    if found is None:
        mode: Mode = wanted.mode or "PROVISIONED"
    elif found.status == "DELETING":  # it is made anew once it has gone
        return None
    else:
        mode = wanted.mode or found.mode
    _refuse_shards_on_demand(stream.name, mode, wanted)
    if found is not None and found.status != "ACTIVE":
        return None
    try:
        if found is not None:
            return None if _step(client, stream.name, found, wanted) else found
        if mode == "PROVISIONED":
            client.create_stream(StreamName=stream.name, ShardCount=wanted.shards or stream.shards)
        else:
            client.create_stream(StreamName=stream.name, StreamModeDetails={"StreamMode": mode})
        return None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ResourceInUseException":  # somebody else makes, changes or deletes it at this moment
            return None
        if code == "LimitExceededException":
            raise PreconditionError(
                f"Kinesis allows no such change of stream {stream.name!r} now: {error}. Shards may be changed ten "
                "times, and the mode twice, in 24 hours, and an account has a quota of shards: wait, or "
                "have the quota raised"
            ) from error
        raise


def _step(client: "KinesisClient", name: str, found: Capacity, wanted: Wanted) -> bool:
    """Whether there was a step to take."""
    if wanted.mode and wanted.mode != found.mode:
        arn = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
        client.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": wanted.mode})
    elif wanted.shards and wanted.shards != found.shards:
        target = min(max(wanted.shards, math.ceil(found.shards / 2)), found.shards * 2)
        client.update_shard_count(StreamName=name, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
    elif wanted.retention_hours and wanted.retention_hours > found.retention_hours:
        client.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=wanted.retention_hours)
    elif wanted.retention_hours and wanted.retention_hours < found.retention_hours:
        client.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=wanted.retention_hours)
    else:
        return False
    return True


def _refuse_shards_on_demand(name: str, mode: Mode, wanted: Wanted) -> None:
    if mode == "ON_DEMAND" and wanted.shards:
        raise PreconditionError(
            f"stream {name!r} is on demand, and Kinesis gives it its shards: leave Shards empty, or choose PROVISIONED"
        )
