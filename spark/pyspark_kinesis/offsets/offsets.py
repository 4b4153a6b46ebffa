"""What an offset of a query says, and whether options and checkpoint still belong together (docs/adr/0002)."""

import logging
from collections.abc import Mapping
from typing import Any

from pyspark_kinesis.api.positions import SHARD_END, parts_of
from pyspark_kinesis.errors import LedgerError, OptionError
from pyspark_kinesis.options.stream import Options, no_longer_named

Offset = dict[str, Any]

VERSION = 3
# Those of version 2 have no notes of planned batches in the ledger, and do not say when their streams were made.
_READABLE = (2, VERSION)

BEFORE_THE_FIRST: Offset = {"version": VERSION, "run": "", "batch": 0, "reads": {}, "holds": {}}


def check_version(offset: Offset) -> None:
    """Raise LedgerError for an offset of another release's."""
    if offset.get("version") not in _READABLE:
        raise LedgerError(
            f"the checkpoint holds offsets of version {offset.get('version')}, this release reads version {VERSION}: "
            "run the release that wrote them, or start over with a new checkpoint location"
        )


def check_following(start: Offset, end: Offset) -> None:
    """Raise LedgerError where ``end`` is not the offset after ``start``."""
    check_version(end)
    if end["batch"] != start["batch"] + 1 or start["run"] not in ("", end["run"]):
        raise LedgerError(
            f"the checkpoint goes from batch {start['batch']} of run {start['run'] or 'none'} to batch "
            f"{end['batch']} of run {end['run']}: it was edited or mixed up; restore it, or start over with a new "
            "checkpoint location"
        )


def is_noted(offset: Offset) -> bool:
    """Whether the ledger of an offset has to know its batch (Ledger.check_planned)."""
    return bool(offset["version"] >= VERSION)


def positions_within(offset: Offset, options: Options) -> dict[str, str]:
    """The positions at which an offset's batch starts, ``holds`` included, of the streams that are read.

    Raises OptionError where it holds unfinished shards of others; with failOnDataLoss=false these are left out.
    """
    positions: dict[str, str] = {**offset["holds"], **offset["reads"]}
    names = {stream.name for stream in options.streams}
    others = sorted({parts_of(key)[0] for key, at in positions.items() if at != SHARD_END} - names)
    if others:
        if options.fail_on_data_loss:
            raise OptionError(no_longer_named(others, options.streams))
        logging.getLogger(__name__).warning("%s; going on without", no_longer_named(others, options.streams))
    return {key: at for key, at in positions.items() if parts_of(key)[0] in names}


def created_of(offset: Offset) -> dict[str, float]:
    """When each stream was made (epoch seconds), as far as the offset says."""
    return {name: float(stream["created"]) for name, stream in offset.get("streams", {}).items()}


def first_of(offset: Offset) -> dict[str, str]:
    """Where shards start that no list has named yet, by stream, where that is not TRIM_HORIZON."""
    return {name: stream["from"] for name, stream in offset.get("streams", {}).items() if "from" in stream}


def streams_to_json(created: Mapping[str, float], first: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What an offset says of the streams."""
    return {
        name: {"created": at, **({"from": first[name]} if name in first else {})}
        for name, at in sorted(created.items())
    }
