"""All streams of the emulator, every change to them written to the journal first."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kinesis_emulator.errors import KinesisError, in_use, invalid, not_found
from kinesis_emulator.state.arns import ACCOUNT, local_names, stream_arn
from kinesis_emulator.state.changes import AnyChange, CommitmentSet, Created, Deleted, Put, change_of
from kinesis_emulator.state.commitment import Commitment
from kinesis_emulator.state.effects import check_tags, delete, effect_on
from kinesis_emulator.state.journal import Journal
from kinesis_emulator.state.shard import Shard
from kinesis_emulator.state.stream import Stream

Request = dict[str, Any]
_LOG = logging.getLogger(__name__)
_SHOWN = 20


@dataclass(frozen=True)
class Options:
    """What can be chosen when the emulator starts."""

    region: str = "us-east-1"
    create_milliseconds: int = 20
    shards_per_page: int = 1000
    iterator_seconds: float = 300
    hour_seconds: float = 3600
    clock_offset_seconds: float = 0
    max_record_bytes: int = 1024 * 1024
    subscription_seconds: float = 300
    takeover_seconds: float = 5
    heartbeat_seconds: float = 5
    limits: bool = False
    access_key: str | None = None
    secret_key: str | None = None
    data_dir: Path | None = None


class State:
    """Streams by name. Not thread-safe: one event loop changes it.

    Raises:
        DataFolderError: the data folder cannot be used.
    """

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self.clock = clock
        self.streams: dict[str, Stream] = {}
        self.commitment = Commitment()
        self.records_in = 0
        self.records_out = 0
        self._created = 0
        self._last_creation = 0
        self._journal = Journal(options.data_dir)
        self._replay()

    def close(self) -> None:
        """Let go of the data folder."""
        self._journal.close()

    def ms(self) -> float:
        """Milliseconds since the epoch, whole as in answers: AT_TIMESTAMP of a record's own arrival begins with it."""
        return float(int(self.clock() * 1000))

    def next_creation(self) -> int:
        """What marks the sequence numbers of the stream that is created now: its time, or a little more."""
        return max(int(self.ms()), self._last_creation + 1)

    def settle(self) -> None:
        """Keep ACTIVE what is ACTIVE now, also when the clock is set back."""
        now = self.ms()
        for stream in self.streams.values():
            stream.settle(now)

    def stream(self, request: Request, action: str) -> Stream:
        """The stream that a request of an action (an operation's name) names by StreamName, StreamARN, or both.

        Raises:
            KinesisError: ResourceNotFoundException; AccessDeniedException for an ARN of another account;
                InvalidArgumentException where neither is given, or they contradict.
        """
        name, arn = request.get("StreamName"), request.get("StreamARN")
        if arn is not None:
            of_arn, _ = local_names(arn, self.options.region, action)
            if name not in (None, of_arn):
                raise invalid(f"StreamName {name} and StreamARN {arn} are not of one stream.")
            name = of_arn
        if name is None:
            raise invalid("Either StreamName or StreamARN must be provided.")
        stream = self.named(name)
        stream.trim(self.ms())
        return stream

    def changeable(self, request: Request, action: str) -> Stream:
        """The stream that a request names, for a change that wants it to be ACTIVE.

        Raises:
            KinesisError: ResourceInUseException while it is not; as ``stream``.
        """
        stream = self.stream(request, action)
        if (status := stream.status(self.ms())) != "ACTIVE":
            raise in_use(f"Stream {stream.name} under account {ACCOUNT} not ACTIVE, instead in state {status}")
        return stream

    def writable(self, request: Request, action: str) -> Stream:
        """The stream that a request names, for records; one that is being created is not found, as in the service."""
        stream = self.stream(request, action)
        if stream.status(self.ms()) != "ACTIVE":
            raise not_found(f"Stream {stream.name} under account {ACCOUNT}")
        return stream

    def named(self, name: str) -> Stream:
        """The stream of a name; raises ResourceNotFoundException."""
        if name not in self.streams:
            raise not_found(f"Stream {name} under account {ACCOUNT}")
        return self.streams[name]

    def apply(self, change: AnyChange) -> None:
        """Make a change: it is refused before anything is written, or it is in the journal and then takes effect.

        Raises:
            KinesisError: the change is refused; nothing has changed, in the journal neither.
        """
        effect = self._effect(change)
        self._journal.add([change.entry()])
        effect()

    def append(self, stream: Stream, records: list[tuple[Shard, Request]]) -> list[int]:
        """Store records, all or none, and wake who waits for them; returns their sequence numbers."""
        now, sequences = self.ms(), stream.due(shard for shard, _ in records)
        if self._journal.keeps:
            # On disk before it can be read: what a reader saw must not vanish at a restart.
            self._journal.add([
                {"op": "put", "stream": stream.name, "shard": shard.shard_id, "seq": str(sequence), "ms": now,
                 "data": record["Data"], "key": record.get("PartitionKey")}
                for sequence, (shard, record) in zip(sequences, records, strict=True)
            ])  # fmt: skip
        self.records_in += len(records)
        stream.append(records, sequences, now)
        if stream.watchers:
            stream.wake({shard.shard_id for shard, _ in records})
        return sequences

    def _replay(self) -> None:
        """Make the journal's changes again.

        A change that breaks or is refused is left out and named in the log: older versions wrote requests before they
        checked them, and answered with an error.
        """
        left_out = []
        for line, entry in self._journal.replay():
            try:
                change = change_of(entry)
                effect = self._effect(change)
                if isinstance(change, Put):  # as when it was put: else all that was ever put is in memory at once
                    self.streams[change.stream].trim(change.ms)
                effect()
            except (KinesisError, ValueError) as error:
                left_out.append(f"line {line}: {_why(error)}")
        if left_out:
            shown = "; ".join(left_out[:_SHOWN]) + ("; …" if len(left_out) > _SHOWN else "")
            _LOG.warning(
                "%d entries of the journal in %s were left out, because they are not valid changes: %s. Older versions "
                "wrote such entries for calls that then failed. If anything else is missing, restore the folder.",
                len(left_out), self.options.data_dir, shown,
            )  # fmt: skip

    def _effect(self, change: AnyChange) -> Callable[[], None]:
        """What makes the change, once it is certain that it can be made; raises KinesisError where it cannot."""
        match change:
            case CommitmentSet():
                return partial(self.commitment.set, change.enabled, change.ms)
            case Created():
                if change.stream in self.streams:
                    raise in_use(f"Stream {change.stream} under account {ACCOUNT} already exists.")
                check_tags(change.stream, {}, change.tags)
                return partial(self._create, change)
            case Deleted():
                return partial(self._delete, self.named(change.stream))
            case _:
                return effect_on(self.named(change.stream), change, self.options.create_milliseconds)

    def _create(self, change: Created) -> None:
        self._created += 1
        self._last_creation = max(self._last_creation, change.creation)
        stream = Stream(
            change.stream,
            stream_arn(self.options.region, change.stream),
            change.shards,
            change.ms,
            change.ms + self.options.create_milliseconds,
            change.creation,
            # Of a stream of an older version's journal, only the order is known.
            change.creation or self._created,
        )
        stream.hour_ms = self.options.hour_seconds * 1000
        stream.default_record_bytes = self.options.max_record_bytes
        stream.mode, stream.strategy, stream.tags = change.mode, change.strategy, dict(change.tags)
        stream.max_record_kib, stream.warm_mibps = change.max_record_kib, change.warm_mibps
        self.streams[change.stream] = stream

    def _delete(self, stream: Stream) -> None:
        del self.streams[stream.name]
        delete(stream)


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return ", ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return str(error)
