"""All streams of the emulator, every change to them written to the journal first."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinesis_emulator.errors import KinesisError, invalid, not_found
from kinesis_emulator.journal import Journal
from kinesis_emulator.model import Consumer, Shard, Stream

Request = dict[str, Any]


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
        self.records_in = 0
        self.records_out = 0
        self._generations = 0
        self._journal = Journal(options.data_dir)
        for entry in self._journal.replay():
            # An entry that was refused when it was made is refused again.
            with suppress(KinesisError):
                self._redo(entry)

    def close(self) -> None:
        """Let go of the data folder."""
        self._journal.close()

    def ms(self) -> float:
        """Milliseconds since the epoch, whole as in answers: AT_TIMESTAMP of a record's own arrival begins with it."""
        return float(int(self.clock() * 1000))

    def settle(self) -> None:
        """Keep ACTIVE what is ACTIVE now, also when the clock is set back."""
        now = self.ms()
        for stream in self.streams.values():
            stream.settle(now)

    def stream(self, request: Request) -> Stream:
        """The stream that a request names; raises ResourceNotFoundException, InvalidArgumentException for no name."""
        name = request.get("StreamName")
        if not name and request.get("StreamARN"):
            name = str(request["StreamARN"]).rsplit("/", 1)[-1]
        if not name:
            raise invalid("Either StreamName or StreamARN must be provided")
        if name not in self.streams:
            raise not_found(f"Stream {name} under account 000000000000")
        stream = self.streams[name]
        stream.trim(self.ms())
        return stream

    def active(self, request: Request) -> Stream:
        """The stream that a request names, once it is ACTIVE."""
        stream = self.stream(request)
        if stream.status(self.ms()) != "ACTIVE":
            # The API answers so for a stream that is still being created.
            raise not_found(f"Active stream {stream.name} under account 000000000000")
        return stream

    def apply(self, entry: dict[str, Any]) -> None:
        """Make a change."""
        self._journal.add([entry])
        self._redo(entry)

    def append(self, stream: Stream, records: list[tuple[Shard, Request]]) -> list[int]:
        """Store records, all or none, and wake who waits for them; returns their sequence numbers."""
        now, first = self.ms(), stream.next_sequence
        if self._journal.keeps:
            # On disk before it can be read: what a reader saw must not vanish at a restart.
            self._journal.add([
                {"op": "put", "stream": stream.name, "shard": shard.shard_id, "seq": str(first + n), "ms": now,
                 "data": record["Data"], "key": record["PartitionKey"]}
                for n, (shard, record) in enumerate(records)
            ])  # fmt: skip
        self.records_in += len(records)
        sequences = [stream.append(shard, record["Data"], record["PartitionKey"], now) for shard, record in records]
        if stream.watchers:
            stream.wake({shard.shard_id for shard, _ in records})
        return sequences

    def _redo(self, entry: dict[str, Any]) -> None:
        name, now = entry["stream"], entry.get("ms", 0.0)
        if entry["op"] == "create":
            self._generations += 1
            arn = f"arn:aws:kinesis:{self.options.region}:000000000000:stream/{name}"
            active, mode = now + self.options.create_milliseconds, entry.get("mode", "PROVISIONED")
            self.streams[name] = Stream(name, arn, entry["shards"], now, active, mode, self._generations)
            self.streams[name].hour_ms = self.options.hour_seconds * 1000
            return
        stream = self.streams[name]
        match entry["op"]:
            case "delete":
                del self.streams[name]
                stream.deleted = True
                stream.wake()
            case "put":
                stream.append(stream.shard(entry["shard"]), entry["data"], entry["key"], now, int(entry["seq"]))
            case "split":
                stream.split(entry["shard"], entry["start"], now)
            case "merge":
                stream.merge(entry["shards"][0], entry["shards"][1], now)
            case "retention":
                stream.retention_hours = entry["hours"]
            case "mode":
                stream.mode = entry["mode"]
            case "tags":
                stream.tags.update(entry["tags"])
            case "resize":
                stream.resize(entry["target"], now)
            case "register":
                created = int(now / 1000)
                arn = f"{stream.arn}/consumer/{entry['consumer']}:{created}"
                active = now + self.options.create_milliseconds
                stream.consumers[entry["consumer"]] = Consumer(entry["consumer"], arn, created, active)
            case "deregister":
                del stream.consumers[entry["consumer"]]
                stream.wake()
