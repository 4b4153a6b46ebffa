"""What the driver does: find out whether there is anything to read, and plan who reads it (docs/adr/0002).

An offset is a dict, and says where the micro-batch that ends with it *starts*, as its true ends are known only once it
was read: ``{"version", "run", "batch", "reads": {shard: position}, "holds": {shard: position}, "asOf", "limits",
"streams": {stream: {"created", "from"?}}, "until"?}``. Shards in ``reads`` are of the batch, those in ``holds`` are
not. Where they ended is in the ledger under (run, batch).
"""

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pyspark_kinesis.api.client import KinesisClient
from pyspark_kinesis.api.positions import (
    LATEST,
    SHARD_END,
    TRIM_HORIZON,
    advance,
    at_time,
    named_but_unread,
    parts_of,
    readable,
)
from pyspark_kinesis.api.rate_limit import Pace
from pyspark_kinesis.errors import StreamNotFoundError
from pyspark_kinesis.fan_out.watching import FAR_BEHIND_MS, FanOut
from pyspark_kinesis.offsets.admission import Limits
from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.offsets import (
    BEFORE_THE_FIRST,
    VERSION,
    Offset,
    check_following,
    check_version,
    created_of,
    first_of,
    is_noted,
    positions_within,
    streams_to_json,
)
from pyspark_kinesis.offsets.unread import Unread
from pyspark_kinesis.options.stream import Options, refuse_future
from pyspark_kinesis.reading.metrics import Progress
from pyspark_kinesis.reading.packing import packed
from pyspark_kinesis.reading.task import KinesisPartition, ShardRead
from pyspark_kinesis.shards.cursor import Cursor
from pyspark_kinesis.shards.lineage import Lineage, lose
from pyspark_kinesis.shards.retention import SAFE_SECONDS, Aging

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
        self._lineage = Lineage(client, options, self._pool)
        # Where shards start that a list names late, by stream; TRIM_HORIZON where it is not said.
        self._first: dict[str, str] = {}
        self._positions: dict[str, str] = {}
        self._views: dict[str, _View] = {}
        self._paces: dict[str, Pace] = {}
        # The batch that each shard was last read in.
        self._last_read: dict[str, int] = {}
        self._progress = Progress(options.fan_out)
        self.fan_out = FanOut(client, ledger, options) if options.fan_out else None
        # As of when each position is complete (epoch seconds; see retention.py), and when that was last kept.
        self._as_of: dict[str, float] = {}
        self._kept_at = client.now()
        self._aging = Aging(client, options)
        self._unread = Unread(ledger)
        self._pinned: float | None = None
        # Streams of which nothing holds that the newest offset says; None before it was looked at.
        self._made_again: set[str] | None = None
        # The offset that the positions belong to.
        self._at: tuple[str, int] | None = None
        self._until: float | None = None

    def initial(self) -> Offset:
        """The offset before the first batch. Pins LATEST, so that a restart before any batch loses nothing."""
        if self._options.starting_position == LATEST:
            # The first request also shows whether the clocks agree.
            self._lineage.refresh({})
            self._pinned_start()
        return dict(BEFORE_THE_FIRST)

    def freeze(self) -> None:
        """Trigger.AvailableNow: from here on nothing is wanted that arrives later than now."""
        # For the service's clock; what is wrong with a stream is said when its checkpoint is known.
        with contextlib.suppress(StreamNotFoundError):
            self._lineage.refresh({})
        # Arrivals have milliseconds: a record of this very one is not later.
        self._until = math.ceil(self._client.clock.now_at_most() * 1000) / 1000
        # A shard that closes before that time must be seen to be closed.
        self._lineage.outdate()

    def latest(self, start: Offset, limits: Limits | None = None) -> Offset:
        """The offset of the next batch, or ``start`` if there is nothing to read.

        ``limits``: those of the options if none are given. Where everything is asked for, that is all that had arrived
        when it was. Raises LedgerError where checkpoint and ledger are of different moments, NotReadError where batch
        after batch was not read.
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
        """The tasks of the batch between two offsets; the same rows, whenever and wherever it is planned.

        Raises LedgerError where checkpoint and ledger are of different moments.
        """
        if start == end:
            return []
        check_following(start, end)
        made_again = self._verify(end)
        if not start["batch"]:
            self._ledger.forget_start()
        # Also leaves out streams that are not read any more.
        wanted = positions_within(end, self._options)
        reads_from = {
            name: at
            for name, at in end["reads"].items()
            if name in wanted and parts_of(name)[0] not in made_again | self._lineage.absent
        }
        if not reads_from:
            return []
        as_of = end.get("asOf", {})
        behind = {name for name, view in self._views.items() if view.behind_ms > _BEHIND_MS}
        limits = Limits.read_from(end, self._options)
        max_records, max_bytes = limits.of_each(len(end["reads"]))
        reads = [
            self._shard_read(name, position, as_of.get(name, 0.0), max_records) for name, position in reads_from.items()
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
                noted=is_noted(end),
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

    def _verify(self, offset: Offset) -> set[str]:
        """The streams of which nothing holds that an offset says; looks at the newest one of a checkpoint, once."""
        check_version(offset)
        if self._made_again is None and offset["batch"]:
            self._ledger.check_newest(offset["run"], offset["batch"])
            if is_noted(offset):
                self._ledger.check_planned(offset["run"], offset["batch"])
            self._lineage.created = created_of(offset)
            self._made_again = self._lineage.made_again(anew=True)
        return self._made_again or set()

    def _come_to(self, start: Offset) -> None:
        """Take the positions after ``start``: where its batch began, moved on by what the ledger recorded."""
        if (key := (start["run"], start["batch"])) == self._at:
            return
        made_again = self._verify(start)
        if not start["batch"]:
            self._positions, entries = self._first_positions(), {}
        else:
            self._positions = {
                name: at
                for name, at in positions_within(start, self._options).items()
                if parts_of(name)[0] not in made_again
            }
            read = self._unread.close(start, available_now=self._until is not None)
            entries = {name: entry for name, entry in read.items() if name in self._positions}
            self._positions |= {name: entry.end for name, entry in entries.items()}
        if self._at is None:
            self._first = {n: at for n, at in first_of(start).items() if n not in made_again} or self._first
            kept = self._ledger.tips() if start["batch"] else {}
            tips = kept.get("tips", {})
            if kept.get("of") == list(key):  # shards that ended, and opened, since the batch, while nothing came
                here = {stream.name for stream in self._options.streams} - made_again
                self._positions = {name: at for name, (at, _) in tips.items() if parts_of(name)[0] in here}
            noted = {name: float(as_of) for name, (at, as_of) in tips.items() if self._positions.get(name) == at}
            known = {**self._as_of, **{name: float(as_of) for name, as_of in start.get("asOf", {}).items()}}
            self._as_of = {name: max(known.get(name, 0.0), noted.get(name, 0.0)) for name in {*known, *noted}}
            for name in [name for name in self._as_of if parts_of(name)[0] in made_again]:
                del self._as_of[name]
            # Short runs of an idle query have to note that it is idle, too.
            seen = [*self._as_of.values(), *(entry.as_of for entry in entries.values())]
            self._kept_at = max(seen, default=self._kept_at)
        self._made_again = set()
        most, _ = Limits.read_from(start, self._options).of_each(len(start["reads"]) or 1)
        for name, entry in entries.items():
            self._as_of[name] = max(entry.as_of, self._as_of.get(name, 0.0))
            self._last_read[name] = start["batch"]
            self._pace(name).learn(entry.calls)
            if self._positions.get(name) == entry.end:
                same_target = start.get("until") == self._until
                self._views[name] = self._view_after(name, entry, most, same_target=same_target)
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
            tips = {name: [at, self._as_of.get(name, 0.0)] for name, at in self._positions.items()}
            self._ledger.note_tips(now, {"of": self._at, "tips": tips})
            self._kept_at = now

    def _pinned_start(self) -> float:
        """Where LATEST is: a time that the service's clock has passed, so that nothing that is put later is before it.

        Kinesis refuses a time that it has not reached.
        """
        # Kept, as another query over this ledger may remove the pin.
        self._pinned = self._pinned or self._ledger.pinned_start()
        if self._pinned is None:
            moment = self._client.now()
            self._sleep(self._client.clock.seconds_until(moment))
            self._pinned = self._ledger.pin_start(moment)
        return self._pinned

    def _first_positions(self) -> dict[str, str]:
        """Where each shard starts that exists when the query starts for the first time."""
        options = self._options
        self._lineage.refresh(options.named)
        self._lineage.made_again(anew=True)
        position = options.starting_position
        if position == LATEST:
            position = at_time(self._pinned_start())
        if position.startswith("@"):
            since = float(position[1:])
            refuse_future(self._client.clock, since)
            self._first = {stream.name: position for stream in options.streams}
            if self._client.now() - since < SAFE_SECONDS:
                self._as_of = {
                    shard.shard_id: since for shard in self._lineage.shards if shard.shard_id not in options.named
                }
        if unread := named_but_unread(self._lineage.shards, options.named):
            self._lose(unread, "startingPosition names them")
        return {shard.shard_id: options.named.get(shard.shard_id, position) for shard in self._lineage.shards}

    def _view_after(self, name: str, entry: Entry, most: int | None, *, same_target: bool) -> _View:
        iterator, issued_at = entry.iterator, entry.issued_at
        if self._at is None and (checked := self._aging.check(name, entry.end, self._as_of[name])):
            iterator, issued_at = checked, time.time()
        cursor = self._cursor(name, entry.end, iterator, issued_at)
        # A batch with this target was read after it was set; the tip of a closed shard is its end, which is asked for.
        # A read that took as many records as it might was not ended by the tip, whatever the answer says.
        at_tip = not entry.behind_ms and (most is None or entry.records < most)
        reached = entry.at_target or (at_tip and not self._lineage.is_closed(name))
        return _View(
            cursor,
            behind_ms=entry.behind_ms,
            has_data=entry.behind_ms > 0 and entry.end != SHARD_END,
            done=reached and same_target and self._until is not None,
        )

    def _look_around(self) -> bool:
        """List and peek what is due. True if a shard turned out drained, so that its children can be looked at."""
        finished = [n for n, v in self._views.items() if v.cursor.position == SHARD_END]
        if finished or self._lineage.is_due():
            self._lineage.refresh(self._positions)
            self._start_over(self._lineage.made_again())
        for name in finished:
            if name in self._positions:
                self._positions[name] = SHARD_END
            self._views.pop(name, None)
        absent = {name: at for name, at in self._positions.items() if parts_of(name)[0] in self._lineage.absent}
        here = {name: at for name, at in self._positions.items() if name not in absent}
        here, lost = advance(self._lineage.shards, here, self._first)
        if lost:
            self._lose(lost, "they were not read to their ends")
        self._positions = {**here, **absent}
        for name in self._lineage.forgettable(self._positions):
            del self._positions[name]
        self._views = {name: view for name, view in self._views.items() if name not in {*lost, *absent}}
        wanted = readable(self._lineage.shards, self._positions)
        parents = {shard.shard_id: shard.parents for shard in self._lineage.shards}
        for name in wanted:
            if name not in self._views:
                if name not in self._as_of and parents[name]:  # it opened after all that was seen of them
                    self._as_of[name] = max(self._as_of.get(parent, 0.0) for parent in parents[name])
                position = self._positions[name]
                as_of = self._as_of.get(name, 0.0)
                if parents[name] and not any(parent in self._positions for parent in parents[name]):
                    # Of parents that came and went unseen: what they held came after all that was seen of the stream.
                    same = [at for key, at in self._as_of.items() if parts_of(key)[0] == parts_of(name)[0]]
                    as_of = as_of or max(same, default=0.0)
                iterator = self._aging.check(name, position, as_of)
                issued_at = time.time() if iterator else 0.0
                self._views[name] = _View(self._cursor(name, position, iterator, issued_at))
        if self.fan_out is not None:
            self.fan_out.keep_only(set(wanted))
        due = [name for name in wanted if not self._sees(name) and self._is_due(self._views[name])]
        list(self._pool.map(self._peek, due))
        refused = any(self._views[name].cursor.position == TRIM_HORIZON != self._positions[name] for name in due)
        if refused and (again := self._lineage.made_again(anew=True)):  # its stream is another one
            self._start_over(again)
            return self._look_around()
        return any(self._views[name].cursor.position == SHARD_END for name in wanted)

    def _start_over(self, streams: set[str]) -> None:
        """Forget what is known of streams that were made again."""
        for name in [name for name in self._positions if parts_of(name)[0] in streams]:
            del self._positions[name]
            self._views.pop(name, None)
            self._as_of.pop(name, None)
        self._first = {name: at for name, at in self._first.items() if name not in streams}

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
        if not sight.has_data and not sight.behind_ms and not sight.ended and self._lineage.is_closed(name):
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
        # Said before the answer: what was put until the shard closed is there by now.
        was_closed = self._lineage.is_closed(name)
        try:
            page = view.cursor.peek()
        except StreamNotFoundError:  # failOnDataLoss=false, and it was said
            self._lineage.outdate()
            view.has_data, view.done = False, self._until is not None
            return
        view.behind_ms = page.behind_ms
        view.has_data = bool(page.records)
        at_tip = not page.records and not page.behind_ms
        if at_tip and was_closed:
            # Some servers give an iterator behind a closed shard's last record, again and again.
            view.cursor.position = SHARD_END
        # A closed shard's tip was longer ago: its children may have records by now.
        elif at_tip and not page.closed:
            self._as_of[name] = self._client.now()
        if self._until is not None:
            late = len(page.records.through(self._until)) < len(page.records)
            view.done = late if page.records else at_tip and view.cursor.position != SHARD_END

    def _offset(self, start: Offset, ready: Iterable[str], limits: Limits) -> Offset:
        chosen = sorted(ready)
        first = {n: at for n, at in self._first.items() if self._client.now() - float(at[1:]) < SAFE_SECONDS}
        offset: Offset = {
            "version": VERSION,
            "run": start["run"] or uuid.uuid4().hex,
            "batch": start["batch"] + 1,
            "reads": {name: self._positions[name] for name in chosen},
            "holds": {name: self._positions[name] for name in sorted(self._positions) if name not in set(chosen)},
            "asOf": {name: round(at, 3) for name, at in sorted(self._as_of.items()) if name in self._positions},
            "limits": limits.to_json(),
            "streams": streams_to_json(self._lineage.created, first),
        }
        self._kept_at = self._client.now()
        if self._until is not None:
            offset["until"] = self._until
        # Before Spark logs the offset: whoever reads the batch looks for the note.
        self._ledger.note_planned(offset["run"], offset["batch"])
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
        lose(
            self._options,
            f"Kinesis no longer lists {', '.join(shards)}, but {why}: records may be lost",
            "Set failOnDataLoss=false to go on without them",
            "going on without them",
        )

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
