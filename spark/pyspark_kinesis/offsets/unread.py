"""Batches that Spark ran without reading all of them: foreachBatch did not look at its DataFrame, or at a part only."""

import logging
from concurrent.futures import ThreadPoolExecutor

from pyspark_kinesis.errors import LedgerError, NotReadError
from pyspark_kinesis.offsets.ledger import Entry, Ledger
from pyspark_kinesis.offsets.offsets import Offset, is_noted

# So many batches in a row of which nothing was read end a query that is to come to an end. One may be left out.
_PATIENT_BATCHES = 3


class Unread:
    """What became of a batch's parts, for one query."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._in_a_row = 0

    def close(self, offset: Offset, *, available_now: bool) -> dict[str, Entry]:
        """The entries of the parts that were read. Those of the others are recorded as not read.

        So a task that comes late cannot record any more what the next batch reads again. Raises LedgerError where the
        ledger does not know the batch, and NotReadError where with ``available_now`` batch after batch is not read.
        """
        run, batch = offset["run"], offset["batch"]
        entries = self._ledger.entries(run, batch, offset["reads"])
        missing = [name for name in offset["reads"] if name not in entries]
        if missing:
            if is_noted(offset):
                self._ledger.check_planned(run, batch)
            elif not entries:
                raise LedgerError(
                    f"the ledger has no entry of batch {batch} of run {run}: it is lost, or older than the checkpoint. "
                    "Restore the two of one moment together, or start over with a new checkpoint location"
                )
            entries |= self._close(offset, missing)
        read = {name: entry for name, entry in entries.items() if not entry.unread}
        if len(read) < len(entries):
            logging.getLogger(__name__).warning(
                "batch %d ended, and %d of its %d shards were not read: they come again with the next batch. Have "
                "foreachBatch read its DataFrame, by writing it or by count()",
                batch, len(entries) - len(read), len(entries),
            )  # fmt: skip
        self._in_a_row = 0 if read or not entries else self._in_a_row + 1
        if available_now and self._in_a_row >= _PATIENT_BATCHES:
            raise NotReadError(
                f"{self._in_a_row} batches in a row were not read, so that Trigger.AvailableNow would never end: have "
                "foreachBatch read its DataFrame, by writing it or by count(), also where it has no use for the rows"
            )
        return read

    def _close(self, offset: Offset, names: list[str]) -> dict[str, Entry]:
        def close(name: str) -> Entry:
            start = offset["reads"][name]
            as_of = float(offset.get("asOf", {}).get(name, 0.0))
            not_read = Entry(start=start, end=start, records=0, last=None, as_of=as_of, unread=True)
            return self._ledger.record(offset["run"], offset["batch"], name, not_read)

        with ThreadPoolExecutor(min(len(names), self._ledger.concurrency)) as pool:
            return dict(zip(names, pool.map(close, names), strict=True))
