"""What a change does to the streams, once it is certain that it can be done."""

from collections.abc import Callable, Collection
from functools import partial

from kinesis_emulator.errors import in_use, invalid, not_found
from kinesis_emulator.state.arns import ACCOUNT
from kinesis_emulator.state.changes import (
    AnyStreamChange,
    ConsumerDeregistered,
    ConsumerRegistered,
    Merged,
    PolicySet,
    Put,
    Resized,
    Setting,
    Split,
    TagsAdded,
    TagsRemoved,
)
from kinesis_emulator.state.sequence import UNTOLD
from kinesis_emulator.state.stream import Consumer, Stream

MAX_TAGS = 50
"""On a stream or a consumer (API reference, TagResource)."""

Effect = Callable[[], None]


def effect_on(stream: Stream, change: AnyStreamChange, create_milliseconds: int) -> Effect:
    """What makes a change to a stream that is there.

    Raises:
        KinesisError: the change cannot be made.
    """
    match change:
        case Put():
            return _put(stream, change)
        case Split():
            return partial(stream.split, stream.splittable(change.shard, change.start), change.start, change.ms)
        case Merged():
            return partial(stream.merge, *stream.mergeable(*change.shards), change.ms)
        case Resized():
            return partial(stream.resize, change.target, change.ms)
        case Setting():
            return partial(setattr, stream, *change.setting())
        case TagsAdded() | TagsRemoved() | PolicySet():
            resource = stream if change.consumer is None else consumer_of(stream, change.consumer)
            return _on_resource(resource, change)
        case ConsumerRegistered():
            if change.consumer in stream.consumers:
                raise in_use(f"Consumer {change.consumer} under stream {stream.arn} already exists.")
            check_tags(stream.arn, {}, change.tags)
            return partial(_register, stream, change, create_milliseconds)
        case ConsumerDeregistered():
            return partial(_deregister, stream, consumer_of(stream, change.consumer).name)
        case _:
            raise AssertionError(f"not a change to a stream that is there: {change}")


def consumer_of(stream: Stream, name: str) -> Consumer:
    """A consumer by its name; raises ResourceNotFoundException."""
    if name not in stream.consumers:
        raise not_found(f"Consumer {name} under stream {stream.arn}")
    return stream.consumers[name]


def check_tags(arn: str, there: Collection[str], added: Collection[str]) -> None:
    """Raises InvalidArgumentException where there would be too many."""
    if len({*there, *added}) > MAX_TAGS:
        raise invalid(
            f"Failed to add tags to {arn} under account {ACCOUNT} because a given resource cannot have more than "
            f"{MAX_TAGS} tags associated with it."
        )


def delete(stream: Stream) -> None:
    """Tell all who watch a stream that it is gone."""
    stream.deleted = True
    stream.wake()


def _put(stream: Stream, change: Put) -> Effect:
    shard, position = stream.shard(change.shard), stream.numbers.position(change.seq)
    ours = position is not None and (position.creation, position.shard) in (
        (stream.numbers.creation, shard.number), (0, UNTOLD)
    )  # fmt: skip
    if position is None or not ours or position.place <= stream.place:
        raise invalid(f"Sequence number {change.seq} is not due in shard {change.shard} of stream {stream.name}")
    record = {"Data": change.data, "PartitionKey": change.key}
    return partial(stream.append, [(shard, record)], [change.seq], change.ms)


def _on_resource(resource: Stream | Consumer, change: TagsAdded | TagsRemoved | PolicySet) -> Effect:
    match change:
        case TagsAdded():
            check_tags(resource.arn, resource.tags, change.tags)
            return partial(resource.tags.update, change.tags)
        case TagsRemoved():
            kept = {key: value for key, value in resource.tags.items() if key not in change.keys}
            return partial(setattr, resource, "tags", kept)
        case PolicySet():
            return partial(setattr, resource, "policy", change.policy)


def _register(stream: Stream, change: ConsumerRegistered, create_milliseconds: int) -> None:
    created = int(change.ms / 1000)
    arn = f"{stream.arn}/consumer/{change.consumer}:{created}"
    stream.consumers[change.consumer] = Consumer(
        change.consumer, arn, created, change.ms + create_milliseconds, dict(change.tags)
    )


def _deregister(stream: Stream, consumer: str) -> None:
    del stream.consumers[consumer]
    stream.wake()
