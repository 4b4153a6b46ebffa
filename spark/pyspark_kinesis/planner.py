"""What the driver does: find out whether there is anything to read, and plan who reads it (docs/adr/0002).

An offset is a dict, and says where the micro-batch that ends with it *starts*, as its true ends are known only once it
was read: ``{"version", "run", "batch", "reads": {shard: position}, "holds": {shard: position}, "asOf", "limits",
"until"?}``. Shards in ``reads`` are of the batch, those in ``holds`` are not. Where they ended is in the ledger under
(run, batch).
"""

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pyspark_kinesis.aging import SAFE_SECONDS, Aging
from pyspark_kinesis.client import KinesisClient
from pyspark_kinesis.cursor import Cursor
from pyspark_kinesis.errors import DataLossError, LedgerError
from pyspark_kinesis.ledger import Entry, Ledger
from pyspark_kinesis.limits import Limits
from pyspark_kinesis.options import Options
from pyspark_kinesis.pace import Pace
from pyspark_kinesis.packing import packed
from pyspark_kinesis.positions import LATEST, SHARD_END, Shard, advance, at_time, named_but_unread, readable
from pyspark_kinesis.progress import Progress
from pyspark_kinesis.reading import KinesisPartition, ShardRead
from pyspark_kinesis.watching import FAR_BEHIND_MS, FanOut

Offset = dict[str, Any]

_VERSION = 2
# An idle shard is asked this often: four calls a second would leave other consumers one.
_IDLE_SECONDS = 0.3
# A shard that is further behind gets a task of its own.
_BEHIND_MS = 1_000
# How often a query that has nothing to read notes so.
_KEEP_SECONDS = 3600.0
_THREADS = 16


@dataclass
class _View:
    """What the planner knows of one shard at its position."""

    cursor: Cursor
    behind_ms: int = 0
    has_data: bool = False
    # Nothing more is wanted of it under Trigger.AvailableNow.
    done: bool = False


class Planner:
    """Plans the micro-batches of one query; lives in the planner process as long as the query runs."""

    def __init__(
        self,
        client: KinesisClient,
        ledger: Ledger,
        options: Options,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._options = options
        self._sleep = sleep
        self._pool = ThreadPoolExecutor(_THREADS)
        self._shards: list[Shard] = []
        self._listed_at = -math.inf
        self._positions: dict[str, str] = {}
        self._views: dict[str, _View] = {}
        self._paces: dict[str, Pace] = {}
        # The batch that each shard was last read in.
        self._last_read: dict[str, int] = {}
        self._progress = Progress(options.fan_out)
        self.fan_out = FanOut(client, ledger, options) if options.fan_out else None
        # As of when each position is complete (epoch seconds; see aging.py), and when that was last kept.
        self._as_of: dict[str, float] = {}
        self._kept_at = client.now()
        self._aging = Aging(client, options)
        # The offset that the positions belong to.
        self._at: tuple[str, int] | None = None
        self._until: float | None = None

    def initial(self) -> Offset:
        """The offset before the first batch. Pins LATEST, so that a restart before any batch loses nothing."""
        if self._options.starting_position == LATEST:
            # The first request also shows whether the clocks agree.
            self._list_shards()
            self._ledger.pin_start(self._client.now())
        return {"version": _VERSION, "run": "", "batch": 0, "reads": {}, "holds": {}}

    def freeze(self) -> None:
        """Trigger.AvailableNow: from here on nothing is wanted that arrives later than now."""
        self._list_shards()
        # Arrivals have milliseconds: a record of this very one is not later.
        self._until = math.ceil(self._client.now() * 1000) / 1000

    def latest(self, start: Offset, limits: Limits | None = None) -> Offset:
        """The offset of the next batch, or ``start`` if there is nothing to read.

        ``limits``: those of the options if none are given. Where everything is asked for, that is all that had arrived
        when it was.
        """
        limits = limits or Limits.of(self._options)
        if limits.everything and self._until is None:
            self.freeze()
        self._come_to(start)
        while True:
            drained = self._look_around()
            # Where not all fit in, those come first that have waited longest, over restarts by when that began.
            ready = sorted(
                (name for name, view in self._views.items() if view.has_data and not view.done),
                key=lambda name: (self._last_read.get(name, 0), self._as_of.get(name, 0.0)),
            )
            known = all(view.has_data or view.done for view in self._views.values())
            if ready and ((known and not drained) or not limits.everything):
                return self._offset(start, ready[: limits.records], limits)
            if drained:
                continue
            # An answer of "nothing" ends an AvailableNow query: it must be sure.
            if self._until is None or all(view.done for view in self._views.values()):
                self._keep_tips()
                # Spark runs the first batch of a query whatever it is told; so that one pins where the shards start.
                return start if start["run"] else self._offset(start, [], limits)
            self._sleep(0.05)

    def nothing(self, start: Offset) -> Offset:
        """The offset of a batch after ``start`` that reads nothing; ``latest(start)`` has been asked."""
        return self._offset(start, [], Limits.of(self._options))

    def partitions(self, start: Offset, end: Offset) -> list[KinesisPartition]:
        """The tasks of the batch between two offsets; the same rows, whenever and wherever it is planned."""
        if start == end:
            return []
        _check_version(end)
        if end["batch"] != start["batch"] + 1 or start["run"] not in ("", end["run"]):
            raise LedgerError(
                f"the checkpoint goes from batch {start['batch']} of run {start['run'] or 'none'} to batch "
                f"{end['batch']} of run {end['run']}: it was edited or mixed up; restore it, or start over with a new "
                "checkpoint location"
            )
        if not end["reads"]:
            return []
        as_of = end.get("asOf", {})
        behind = {name for name, view in self._views.items() if view.behind_ms > _BEHIND_MS}
        limits = Limits.read_from(end, self._options)
        max_records, max_bytes = limits.of_each(len(end["reads"]))
        reads = [
            self._shard_read(name, position, as_of.get(name, 0.0), max_records)
            for name, position in end["reads"].items()
        ]
        return [
            KinesisPartition(
                end["run"],
                end["batch"],
                group,
                max_records=max_records,
                max_bytes=max_bytes,
                max_seconds=None if limits.everything else self._options.max_fetch_seconds,
                until=end.get("until"),
            )
            for group in packed(reads, behind, self._options)
        ]

    def commit(self, end: Offset) -> None:
        """Forget what no replay needs any more; the entries of ``end`` itself are where the next batch starts."""
        # The next batch does not wait for that: on S3 it is two requests.
        self._pool.submit(self._ledger.forget_before, end["run"], end["batch"])

    def report(self) -> dict[str, dict[str, int]]:
        """How each unfinished shard stands, as last seen: its lag, and what its part of its last batch cost.

        ``millisBehindLatest`` is Kinesis's own; ``recordsBehind`` is estimated from it and from the rate at which the
        records of the last batch arrived.
        """
        return {
            name: self._progress.of(name, view.behind_ms, self.fan_out.calls(name) if self.fan_out else {})
            for name, view in sorted(self._views.items())
        }

    def close(self) -> None:
        """Let go of the threads, and of the consumers that the query registered."""
        if self.fan_out is not None:
            self.fan_out.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _come_to(self, start: Offset) -> None:
        """Take the positions after ``start``: where its batch began, moved on by what the ledger recorded."""
        if (key := (start["run"], start["batch"])) == self._at:
            return
        _check_version(start)
        if not start["batch"]:
            self._positions, entries = self._first_positions(), {}
        else:
            entries = self._ledger.entries(start["run"], start["batch"], start["reads"])
            self._positions = {**start["holds"], **start["reads"], **{name: e.end for name, e in entries.items()}}
        if self._at is None:
            tips = self._ledger.tips() if start["batch"] else {}
            noted = {name: float(as_of) for name, (at, as_of) in tips.items() if self._positions.get(name) == at}
            known = {**self._as_of, **{name: float(as_of) for name, as_of in start.get("asOf", {}).items()}}
            self._as_of = {name: max(known.get(name, 0.0), noted.get(name, 0.0)) for name in {*known, *noted}}
        for name, entry in entries.items():
            self._as_of[name] = max(entry.as_of, self._as_of.get(name, 0.0))
            self._last_read[name] = start["batch"]
            self._pace(name).learn(entry.calls)
            self._views[name] = self._view_after(name, entry, same_target=start.get("until") == self._until)
        # A shard that handed nothing on is as it was before, so is one that was not read.
        self._views = {
            name: view
            for name, view in self._views.items()
            if name in entries or (view.cursor.position == self._positions.get(name))
        }
        self._at = key
        if entries:
            self._progress.tell(start["batch"], entries)

    def _keep_tips(self) -> None:
        """While nothing comes there are no offsets: note now and again that nothing is what there was."""
        now = self._client.now()
        if now - self._kept_at >= _KEEP_SECONDS:
            tips: dict[str, list[str | float]] = {
                name: [self._positions[name], at] for name, at in self._as_of.items() if name in self._positions
            }
            self._ledger.note_tips(now, tips)
            self._kept_at = now

    def _first_positions(self) -> dict[str, str]:
        """Where each shard starts that exists when the query starts for the first time."""
        options = self._options
        position = options.starting_position
        if position == LATEST:
            position = at_time(self._ledger.pin_start(self._client.now()))
        self._list_shards()
        if position.startswith("@") and self._client.now() - (since := float(position[1:])) < SAFE_SECONDS:
            self._as_of = {shard.shard_id: since for shard in self._shards if shard.shard_id not in options.named}
        if unread := named_but_unread(self._shards, options.named):
            self._lose(unread, "startingPosition names them")
        return {shard.shard_id: options.named.get(shard.shard_id, position) for shard in self._shards}

    def _view_after(self, name: str, entry: Entry, *, same_target: bool) -> _View:
        iterator, issued_at = entry.iterator, entry.issued_at
        if self._at is None and (checked := self._aging.check(name, entry.end, self._as_of[name])):
            iterator, issued_at = checked, time.time()
        cursor = self._cursor(name, entry.end, iterator, issued_at)
        reached_tip = not entry.behind_ms and self._until is not None and entry.issued_at >= self._until
        return _View(
            cursor,
            behind_ms=entry.behind_ms,
            has_data=entry.behind_ms > 0 and entry.end != SHARD_END,
            done=reached_tip or (entry.at_target and same_target and self._until is not None),
        )

    def _look_around(self) -> bool:
        """List and peek what is due. True if a shard turned out drained, so that its children can be looked at."""
        finished = [n for n, v in self._views.items() if v.cursor.position == SHARD_END]
        if finished or time.monotonic() - self._listed_at >= self._options.shard_refresh_seconds:
            self._list_shards()
        for name in finished:
            self._positions[name] = SHARD_END
            del self._views[name]
        self._positions, lost = advance(self._shards, self._positions)
        if lost:
            self._lose(lost, "they were not read to their ends")
            self._views = {name: view for name, view in self._views.items() if name not in lost}
        wanted = readable(self._shards, self._positions)
        parents = {shard.shard_id: shard.parents for shard in self._shards}
        for name in wanted:
            if name not in self._views:
                if name not in self._as_of and parents[name]:  # it opened after all that was seen of them
                    self._as_of[name] = max(self._as_of.get(parent, 0.0) for parent in parents[name])
                position = self._positions[name]
                iterator = self._aging.check(name, position, self._as_of.get(name, 0.0))
                issued_at = time.time() if iterator else 0.0
                self._views[name] = _View(self._cursor(name, position, iterator, issued_at))
        if self.fan_out is not None:
            self.fan_out.keep_only(set(wanted))
        due = [name for name in wanted if not self._sees(name) and self._is_due(self._views[name])]
        list(self._pool.map(self._peek, due))
        return any(self._views[name].cursor.position == SHARD_END for name in wanted)

    def _sees(self, name: str) -> bool:
        """Take what the planner's subscription to a shard says; False where GetRecords has to be asked.

        Tasks subscribe to what is far behind, and to what is read up to a frozen target.
        """
        if self.fan_out is None or self._until is not None:
            return False
        view = self._views[name]
        if view.behind_ms > FAR_BEHIND_MS:
            self.fan_out.drop(name)
            return False
        sight = self.fan_out.sight(name, view.cursor.position)
        if sight is None:
            return False
        view.has_data, view.behind_ms = sight.has_data, sight.behind_ms
        if sight.ended and not sight.has_data:
            view.cursor.position = SHARD_END
        elif not sight.has_data and not sight.behind_ms:
            self._as_of[name] = max(sight.at, self._as_of.get(name, 0.0))
        return True

    def _is_due(self, view: _View) -> bool:
        if view.has_data or view.done:
            return False
        pace = view.cursor.pace
        if not self._options.max_calls_per_second or view.behind_ms or not pace.calls:
            return not pace.wait_seconds()
        return not pace.wait_seconds() and abs(time.time() - pace.calls[-1]) >= _IDLE_SECONDS

    def _peek(self, name: str) -> None:
        view = self._views[name]
        page = view.cursor.peek()
        view.behind_ms = page.behind_ms
        view.has_data = bool(page.records)
        # A closed shard's tip was longer ago: its children may have records by now.
        if not page.records and not page.behind_ms and not page.closed:
            self._as_of[name] = self._client.now()
        if self._until is not None:
            late = len(page.records.through(self._until)) < len(page.records)
            view.done = late if page.records else not page.behind_ms and not page.closed

    def _offset(self, start: Offset, ready: Iterable[str], limits: Limits) -> Offset:
        chosen = sorted(ready)
        offset: Offset = {
            "version": _VERSION,
            "run": start["run"] or uuid.uuid4().hex,
            "batch": start["batch"] + 1,
            "reads": {name: self._positions[name] for name in chosen},
            "holds": {name: self._positions[name] for name in sorted(self._positions) if name not in set(chosen)},
            "asOf": {name: round(at, 3) for name, at in sorted(self._as_of.items()) if name in self._positions},
            "limits": limits.to_json(),
        }
        self._kept_at = self._client.now()
        if self._until is not None:
            offset["until"] = self._until
        return offset

    def _shard_read(self, name: str, position: str, as_of: float, max_records: int | None) -> ShardRead:
        view = self._views.get(name)
        if view is None or view.cursor.position != position:
            return ShardRead(name, position, calls=tuple(self._pace(name).calls), as_of=as_of)
        cursor = view.cursor
        read = ShardRead(name, position, cursor.iterator, cursor.issued_at, tuple(cursor.pace.calls), as_of)
        if self.fan_out is None:
            return read
        if self._until is not None or view.behind_ms > FAR_BEHIND_MS:
            return replace(read, consumer=self.fan_out.consumer(name))
        return replace(read, pushed=self.fan_out.pushed(name, position, max_records))

    def _lose(self, shards: list[str], why: str) -> None:
        message = f"Kinesis no longer lists {', '.join(shards)}, but {why}: records may be lost"
        if self._options.fail_on_data_loss:
            raise DataLossError(
                f"{message}. Set failOnDataLoss=false to go on without them; to keep the rest safe, raise the "
                "stream's retention period"
            )
        logging.getLogger(__name__).warning("%s; going on without them", message)

    def _list_shards(self) -> None:
        self._shards = [
            shard.of(stream.name) for stream in self._options.streams for shard in self._client.shards(stream.arguments)
        ]
        self._listed_at = time.monotonic()

    def _pace(self, name: str) -> Pace:
        return self._paces.setdefault(name, Pace(self._options.max_calls_per_second))

    def _cursor(self, name: str, position: str, iterator: str | None = None, issued_at: float = 0.0) -> Cursor:
        return Cursor(
            self._client,
            self._options,
            name,
            position,
            pace=self._pace(name),
            iterator=iterator,
            issued_at=issued_at,
            sleep=self._sleep,
        )


def _check_version(offset: Offset) -> None:
    if offset.get("version") != _VERSION:
        raise LedgerError(
            f"the checkpoint holds offsets of version {offset.get('version')}, this release reads version {_VERSION}: "
            "run the release that wrote them, or start over with a new checkpoint location"
        )
