"""The ledger: where each shard's part of a micro-batch ended, written once, before a row of it is handed on.

Files under the ledger location::

    start.json                                where LATEST was, until a first batch is planned
    <run>/<batch>/planned                     that the planner planned the batch, before Spark logged its offset
    <run>/<batch>/<stream>.<shard id>.json    one Entry
    tips/<milliseconds>.json                  where idle shards stood then, now and again
    consumers/<stream>.json                   the consumer that the query registered and is to deregister
    plans/<ticket>.json                       what an offset stands for, on Spark 4.1 and older only

``run`` is drawn when a query plans its first batch and travels in Spark's offsets, so that the ledger of a lost
checkpoint is never taken for the one of a new checkpoint. All files are JSON.

The planner notes each batch before Spark knows of it, and whoever reads it looks for the note. So a ledger without the
note is not the planner's: it is lost, older than the checkpoint, or a folder of another machine. And a ledger with
entries of a batch that Spark does not know yet is newer than the checkpoint.
"""

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from pyspark_kinesis.errors import LedgerError
from pyspark_kinesis.offsets.stores.store import Store

_START = "start.json"
# Not a name that an entry could have.
_NOTE = "planned"


@dataclass(frozen=True)
class Entry:
    """What one task handed on of one shard in one micro-batch: all records after ``start`` through ``end``."""

    start: str
    end: str
    records: int
    # Sequence number of the last record, so that a replay can tell it has everything; None without records.
    last: str | None
    bytes: int = 0
    # Milliseconds behind the tip after the last call; 0 is the tip.
    behind_ms: int = 0
    # Nothing that arrived before this time (epoch seconds) is missing up to ``end``; what follows arrived later.
    as_of: float = 0.0
    # An estimate: as many as arrive in that time at the rate at which those read arrived.
    records_behind: int = 0
    # GetRecords calls, SubscribeToShard calls, the events that these pushed, and how many requests were throttled.
    gets: int = 0
    subscriptions: int = 0
    events: int = 0
    throttles: int = 0
    # The read stopped at the frozen target of Trigger.AvailableNow.
    at_target: bool = False
    # No task read it, and none may any more: recorded by the planner, once the batch had ended.
    unread: bool = False
    # Hints, not needed to be right: an iterator at ``end``, when it was issued, and the last calls (epoch seconds).
    iterator: str | None = None
    issued_at: float = 0.0
    calls: list[float] = field(default_factory=list)


class Ledger:
    """The entries of one query. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cleaning = threading.Lock()
        # The run whose batches before this one are removed already.
        self._cleaned: tuple[str, int] | None = None

    @property
    def concurrency(self) -> int:
        """So many calls at once are faster than one after the other."""
        return self._store.concurrency

    def entry(self, run: str, batch: int, shard_id: str) -> Entry | None:
        """What is recorded for a shard in a batch. Raises LedgerError where the file cannot be read."""
        path = _path(run, batch, shard_id)
        content = self._read(path)
        try:
            return None if content is None else Entry(**orjson.loads(content))
        except (ValueError, TypeError) as error:
            raise _unreadable(path, error) from error

    def record(self, run: str, batch: int, shard_id: str, entry: Entry) -> Entry:
        """Record an entry, or get the one that another attempt recorded first: that one holds."""
        if self._put(_path(run, batch, shard_id), asdict(entry)):
            return entry
        # Another attempt's, or this one's after all, where the answer to its first try was lost: reading it tells.
        recorded = self.entry(run, batch, shard_id)
        if recorded is None:
            raise LedgerError(f"the entry of {shard_id} in batch {batch} vanished: does something else use the folder?")
        return recorded

    def entries(self, run: str, batch: int, shard_ids: Iterable[str]) -> dict[str, Entry]:
        """The recorded entries of a batch; shards without one handed nothing on."""
        names = list(shard_ids)
        threads = min(len(names), self._store.concurrency)
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                found = list(pool.map(lambda name: self.entry(run, batch, name), names))
        else:
            found = [self.entry(run, batch, name) for name in names]
        return {name: entry for name, entry in zip(names, found, strict=True) if entry is not None}

    def note_planned(self, run: str, batch: int) -> None:
        """Note that a batch is planned, before Spark logs its offset. Raises LedgerError if it has been read already.

        A note that is there is that of an attempt which died before Spark logged its offset; nothing was read then.
        """
        if self._put(_note_path(run, batch), {"run": run, "batch": batch}):
            return
        if self._was_read(run, batch):
            raise LedgerError(_newer(batch))

    def check_planned(self, run: str, batch: int) -> None:
        """Raise LedgerError where the planner's note of a batch cannot be seen, so that nothing may be read."""
        if not self._read(_note_path(run, batch)):
            raise LedgerError(
                f"the ledger does not know batch {batch} of run {run}, which was planned with it: ledgerLocation is "
                "lost, was restored from an older moment than the checkpoint, was changed, or is a folder that the "
                "driver and this process do not share (a plain path is local on each machine). Put it where all "
                "of them reach it, restore the ledger and the checkpoint of one moment together, or start over "
                "with a new checkpoint location"
            )

    def check_newest(self, run: str, batch: int) -> None:
        """Raise LedgerError where batches after ``batch``, the newest that Spark knows, were read.

        One that was only planned is that of an attempt which died before Spark logged its offset.
        """
        later = sorted(int(name) for name in self._store.list(run) if name.isdigit() and int(name) > batch)
        if later and (later[-1] > batch + 1 or self._was_read(run, later[0])):
            raise LedgerError(_newer(later[0]))

    def plan(self, ticket: int) -> dict[str, Any] | None:
        """What was planned for a ticket (see ``reading.stream_41``); None if nothing was yet."""
        try:
            content = self._store.get(_plan_path(ticket))
            return None if content is None else dict(orjson.loads(content))
        except (OSError, ValueError, TypeError) as error:
            raise LedgerError(f"the plan of ticket {ticket} cannot be read ({error}): restore it") from error

    def record_plan(self, ticket: int, plan: dict[str, Any]) -> dict[str, Any]:
        """Record a plan, or get the one that was recorded first: that one holds."""
        if self._put(_plan_path(ticket), plan):
            return plan
        recorded = self.plan(ticket)
        if recorded is None:
            raise LedgerError(f"the plan of ticket {ticket} vanished: does something else use the folder?")
        return recorded

    def forget_plans_before(self, ticket: int) -> None:
        """Remove the plans that no replay needs once ``ticket`` is committed."""
        for name in self._store.list("plans"):
            if name.split(".")[0].isdigit() and int(name.split(".")[0]) < ticket:
                self._store.delete(f"plans/{name}")

    def note_tips(self, epoch_seconds: float, tips: dict[str, Any]) -> None:
        """Keep where the shards of an idle query stand, and as of when: no offset tells, as there was no batch.

        ``of``: the run and the batch that they follow; ``tips``: position and time by shard.
        """
        names = self._store.list("tips")
        self._put(f"tips/{int(epoch_seconds * 1000):015d}.json", tips)
        for name in names:
            self._store.delete(f"tips/{name}")

    def tips(self) -> dict[str, Any]:
        """The newest note; nothing if there is none."""
        names = self._store.list("tips")
        content = self._store.get(f"tips/{names[-1]}") if names else None
        return dict(orjson.loads(content)) if content else {}

    def consumer(self, stream: str) -> dict[str, str] | None:
        """What ``note_consumer`` noted last for a stream; None if nothing, or no more."""
        content = self._store.get(_consumer_path(stream))
        return dict(orjson.loads(content)) if content else None

    def note_consumer(self, stream: str, note: dict[str, str] | None) -> None:
        """Keep what the query registered for a stream, in place of what was noted before; None: nothing any more."""
        self._store.delete(_consumer_path(stream))
        if note is not None:
            self._put(_consumer_path(stream), note)

    def pin_start(self, epoch_seconds: float) -> float:
        """When this query started for the first time: the time given, or the one pinned before."""
        if self._put(_START, {"started_at": epoch_seconds}):
            return epoch_seconds
        return self.pinned_start() or epoch_seconds

    def pinned_start(self) -> float | None:
        """What ``pin_start`` pinned; None if nothing is."""
        content = self._read(_START)
        try:
            return float(orjson.loads(content)["started_at"]) if content else None
        except (ValueError, TypeError, KeyError) as error:
            raise _unreadable(_START, error) from error

    def forget_start(self) -> None:
        """Remove the pin: Spark has logged a first offset, which says where the shards start."""
        try:
            self._store.delete(_START)
        except Exception as error:
            logging.getLogger(__name__).warning(
                "%s stays in the ledger, and would tell another query where LATEST is: remove it (%s)",
                _START,
                error,
            )

    def forget_before(self, run: str, batch: int) -> None:
        """Remove what no replay needs once ``batch`` is committed: all of the run's earlier batches, and the pin.

        Only the first call looks for what there is; the next ones remove what was committed since. Failing is no more
        than a warning: what is left behind does no harm, and the next call tries again. So does it after one that
        found another thread at it.
        """
        if not self._cleaning.acquire(blocking=False):
            return
        try:
            if self._cleaned is None or self._cleaned[0] != run:
                self._store.delete(_START)
                present = [int(name) for name in self._store.list(run) if name.isdigit()]
                old = [number for number in present if number < batch]
            else:
                old = list(range(self._cleaned[1], batch))
            for number in old:
                self._store.delete_folder(_folder(run, number))
            self._cleaned = (run, batch)
        except Exception as error:
            logging.getLogger(__name__).warning("old batches stay in the ledger, until it can remove them: %s", error)
        finally:
            self._cleaning.release()

    def _was_read(self, run: str, batch: int) -> bool:
        # A folder without a note, too, is what a death while the note was written leaves behind.
        return any(name != _NOTE for name in self._store.list(_folder(run, batch)))

    def _read(self, path: str) -> bytes | None:
        try:
            return self._store.get(path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def _put(self, path: str, content: object) -> bool:
        try:
            return self._store.put_if_absent(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise LedgerError(
                f"the ledger file {path} cannot be written ({error}): check the space, the permissions and that "
                "ledgerLocation is reachable from the executors; then restart the query: nothing was handed on"
            ) from error


def _newer(batch: int) -> str:
    return (
        f"the ledger says that batch {batch} was read, of which the checkpoint knows nothing: the checkpoint was set "
        "back, or restored from an older moment than ledgerLocation. Restore the two of one moment together, or start "
        "over with a new checkpoint location. (To have Spark do its last batch again, remove its file from commits/ "
        "and leave offsets/ as it is)"
    )


def _unreadable(path: str, error: Exception) -> LedgerError:
    return LedgerError(f"the ledger file {path} cannot be read ({error}): restore it from a backup")


def _note_path(run: str, batch: int) -> str:
    return f"{_folder(run, batch)}/{_NOTE}"


def _path(run: str, batch: int, shard_id: str) -> str:
    return f"{_folder(run, batch)}/{shard_id.replace('/', '.')}.json"


def _consumer_path(stream: str) -> str:
    return f"consumers/{stream}.json"


def _plan_path(ticket: int) -> str:
    return f"plans/{ticket}.json"


def _folder(run: str, batch: int) -> str:
    return f"{run}/{batch:012d}"
