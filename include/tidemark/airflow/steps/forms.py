"""The forms of runs that are started by hand. Airflow checks each value against its schema before a run begins."""

from typing import Any

from airflow.sdk import Param

from tidemark.airflow.steps.ranges import MAX_DAYS
from tidemark.lake.maintenance import MIN_SMALL_FILES

MAX_SHARDS = 1_000
"""Shards that a form takes: a slip of the pen is billed by the hour."""
_DATE: dict[str, Any] = {"type": ["null", "string"], "format": "date"}


def range_params() -> dict[str, Param]:
    """Event dates of a run; left empty, those of its data interval."""
    return {
        "from": Param(None, **_DATE, title="From", description="First event date. Empty: the run's data interval."),
        "to": Param(
            None,
            **_DATE,
            title="To",
            description=f"Event date after the last one (exclusive); at most {MAX_DAYS} days after the first.",
        ),
    }


def reprocess_params() -> dict[str, Param]:
    """Event dates, and how to go about them."""
    return {
        **range_params(),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Only say what would be read and how long it would take; see the log of the task plan.",
        ),
        "wait_seconds": Param(
            300,
            type="integer",
            minimum=0,
            maximum=3600,
            title="Wait for refine (seconds)",
            description="How long the refine stream may stand still before the run no longer waits for it.",
        ),
    }


def compact_params() -> dict[str, Param]:
    """What folding, OPTIMIZE and VACUUM keep to."""
    return {
        "min_files": Param(
            MIN_SMALL_FILES,
            type="integer",
            minimum=1,
            maximum=10_000,
            title="Small files that pay",
            description="A table is rewritten where that rids it of so many small files, by its own statistics.",
        ),
        "grace": Param(
            "1 hour",
            type="string",
            enum=["1 hour", "6 hours", "1 day"],
            title="Grace period",
            description="Speed rows younger than this are not folded: longer than the longest query and reprocess.",
        ),
        "retention": Param(
            "7 days",
            type="string",
            enum=["1 day", "7 days", "30 days"],
            title="VACUUM keeps",
            description="What versions of this time hold, for time travel and lagging readers. Refused below the grace "
            "period, or twice the lag of refine.",
        ),
    }


def provision_params() -> dict[str, Param]:
    """What a Kinesis stream shall have; left empty, it stays as it is."""
    return {
        "shards": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=MAX_SHARDS,
            title="Shards",
            description="Open shards of a provisioned stream, each 1 MiB or 1,000 records a second. Empty: as they "
            "are; for a new stream, those of the definition.",
        ),
        "mode": Param(
            None,
            type=["null", "string"],
            enum=[None, "PROVISIONED", "ON_DEMAND"],
            title="Capacity mode",
            description="PROVISIONED has the shards that are asked for, ON_DEMAND those that Kinesis finds it needs. "
            "Empty: as it is; a new stream is provisioned.",
        ),
        "retention_hours": Param(
            None,
            type=["null", "integer"],
            minimum=24,
            maximum=8760,
            title="Retention (hours)",
            description="How long Kinesis keeps a record. A shorter one makes older records unreadable at once. Empty: "
            "as it is; for a new stream, 24.",
        ),
    }
