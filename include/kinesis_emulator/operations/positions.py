"""Where reading starts: the types of shard iterators and of starting positions are the same."""

from kinesis_emulator.errors import invalid
from kinesis_emulator.state.sequence import UNTOLD
from kinesis_emulator.state.shard import Shard, shard_id
from kinesis_emulator.state.stream import Stream

_BY_NUMBER = ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")


def start_index(
    stream: Stream, shard: Shard, kind: str, number: str | None, timestamp: float | None, now_ms: int, action: str
) -> int:
    """Index of the first record of a starting position (API reference, ShardIteratorType and StartingPosition).

    ``now_ms`` is rounded up: a client that rounds the time that it is must not be refused.

    Raises:
        KinesisError: InvalidArgumentException for a number of another stream or shard, or that was never given out; for
            a time in the future; for a number or a time that is missing, and a number that does not belong.
    """
    if (number is None) == (kind in _BY_NUMBER):
        raise invalid(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
            f"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} and "
            f"{'no' if number is None else 'also a'} StartingSequenceNumber."
        )
    if number is not None:
        sequence = int(number)
        _check_number(stream, shard, sequence, action)
        return shard.index_at(sequence) if kind == "AT_SEQUENCE_NUMBER" else shard.index_after(sequence)
    match kind:
        case "TRIM_HORIZON":
            return 0
        case "LATEST":
            return shard.end
        case "AT_TIMESTAMP":
            return shard.index_at_time(_milliseconds(timestamp, now_ms))
        case _:
            raise AssertionError(f"not one of the enum values of the service's model: {kind}")


def check_ordering(stream: Stream, number: str, action: str) -> None:
    """Raises InvalidArgumentException for a SequenceNumberForOrdering that the stream never gave out."""
    position = stream.numbers.position(int(number))
    if position is None or position.creation != stream.numbers.creation or position.place > stream.place:
        raise invalid(
            f"ExclusiveMinimumSequenceNumber {number} used in {action} on stream {stream.name} under account "
            f"{stream.account} is invalid."
        )


def _check_number(stream: Stream, shard: Shard, number: int, action: str) -> None:
    used = (
        f"StartingSequenceNumber {number} used in {action} on shard {shard.shard_id} in stream {stream.name} under "
        f"account {stream.account} is invalid"
    )
    position = stream.numbers.position(number)
    if position is None:
        raise invalid(f"{used}.")
    if position.shard not in (UNTOLD, shard.number):
        raise invalid(
            f"Invalid StartingSequenceNumber. It encodes {shard_id(position.shard)}, while it was used in a call to a "
            f"shard with {shard.shard_id}"
        )
    if position.creation != stream.numbers.creation:
        raise invalid(f"{used} because it did not come from this stream.")
    last = stream.latest_sequence(shard) if shard.end_sequence is None else shard.end_sequence
    if not shard.start_sequence <= number <= last:
        raise invalid(f"{used}.")


def _milliseconds(timestamp: float | None, now_ms: int) -> int:
    if timestamp is None:
        raise invalid(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no "
            "timestamp parameter."
        )
    milliseconds = round(timestamp * 1000)
    if milliseconds > now_ms:
        raise invalid(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: "
            f"{milliseconds}, currentTimestampInMillis: {now_ms}"
        )
    return milliseconds
