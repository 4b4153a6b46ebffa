"""A pipeline, stated once: source, schema, key, rollups and suite. Everything else is derived from it."""

import difflib
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache, cached_property
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from tidemark.core.columns import RESERVED_FOR_EVENTS, RESERVED_FOR_MEASURES
from tidemark.core.documents import RecordFormat
from tidemark.core.errors import DefinitionError
from tidemark.definition.measures import Measure, State, Stored
from tidemark.definition.schema import ColumnType, EventSchema, parse_ddl
from tidemark.definition.window import Duration, SessionWindow, Window

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LANDING_BYTES = 800
"""Of the folder, so that S3's limit of 1,024 leaves room for where a file is set aside, and for its name."""
_LANDING = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/([^/*?#\[\]\x00-\x1f\x7f]+/)+")
_ONE_DAY = timedelta(days=1)
_FARTHEST_FUTURE = timedelta(days=36_525)
_EARLIEST_OF_ALL = date(1000, 1, 1)
_MOST_CLUSTERED = 4
_STREAM_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

RESERVED_TABLES = frozenset({"bronze", "silver", "quarantine", "refine_log", "generations", "validations"})
"""Tables that every pipeline has beside the views of its rollups; the others begin with ``batch_`` or ``speed_``."""

RESERVED_SCHEMAS = frozenset({"main", "temp", "system", "information_schema", "pg_catalog"})
"""Schemas that DuckDB has itself, beside one for each pipeline."""


@dataclass(frozen=True, config=_CONFIG)
class KinesisStream:
    """A Kinesis data stream as the source of a pipeline's events."""

    name: str
    """Name of the stream, in the account and region of the settings."""
    shards: int = Field(default=1, ge=1)
    """Shards that ``tidemark`` gives the stream when it creates it; an existing stream is left as it is."""
    starting_position: Literal["TRIM_HORIZON", "LATEST"] = "TRIM_HORIZON"
    """Where the ingest stream begins while bronze is empty: at the oldest record, or at what is put from then on."""


@dataclass(frozen=True, config=_CONFIG)
class Rollup:
    """An aggregate by columns over windows of event time. Grain of its tables: at least one row a key and pane.

    A pane of a ``SessionWindow`` is a session, or what a part of the log shows of one.

    Examples:
        >>> from tidemark.definition import Count, Mean, Rollup, Window
        >>> delays = Rollup(
        ...     "delays",
        ...     by=["carrier"],
        ...     window=Window("1 hour"),
        ...     measures={"flights": Count(), "mean_delay": Mean("delay")},
        ... )

        The tables keep mergeable states of the measures; a mean is a sum and a count:

        >>> from tidemark.definition.schema import parse_ddl
        >>> schema = parse_ddl("carrier STRING, delay BIGINT")
        >>> [f"{state.column} {state.type.sql}" for state in delays.states(schema)]
        ['flights__count BIGINT', 'mean_delay__sum DECIMAL(38,0)', 'mean_delay__count BIGINT']
    """

    name: str
    """Name of the serving view, ``<pipeline>.<name>``; its tables are ``batch_<name>`` and ``speed_<name>``."""
    by: Sequence[str]
    """The key: columns of the event to group by. Empty: one group of all events."""
    window: Window | SessionWindow
    """How events are cut into windows of event time."""
    measures: Mapping[str, Measure]
    """By name of the column in the serving view, what is computed of a key and window."""

    def states(self, schema: EventSchema) -> tuple[State, ...]:
        """The state columns of all measures, in order of definition."""
        return tuple(state for name, measure in self.measures.items() for state in measure.states(name, schema))

    def has_one_row_a_window(self, timezone: str) -> bool:
        """Whether a window's batch rows are one row: tumbling windows, none of which spans two event dates."""
        window = self.window
        if isinstance(window, SessionWindow) or window.panes > 1:
            return False
        return window.days == 1 or (timezone == "UTC" and _ONE_DAY % window.pane == timedelta(0))

    def stored(self, timezone: str) -> dict[str, Stored]:
        """By measure, the columns in which the batch table keeps finished values: where it has one row a window."""
        if not self.has_one_row_a_window(timezone):
            return {}
        kept = {name: measure.stored(name) for name, measure in self.measures.items()}
        return {name: stored for name, stored in kept.items() if stored is not None}


@dataclass(frozen=True, config=_CONFIG)
class Pipeline:
    """One pipeline, from its stream to its serving views. Its tables, streams, jobs and DAGs follow from it.

    Raises:
        DefinitionError: when it is made, listing every problem of the definition at once.

    Examples:
        Departures by carrier and hour, each flight counted once however often its record is delivered:

        >>> from tidemark.definition import Count, KinesisStream, Mean, Pipeline, Quantile, Rollup, Window
        >>> flights = Pipeline(
        ...     name="flights",
        ...     source=KinesisStream("flights"),
        ...     schema="flight_id STRING, carrier STRING, delay BIGINT, departure TIMESTAMP",
        ...     event_time="departure",
        ...     key=["flight_id"],
        ...     rollups=[
        ...         Rollup(
        ...             "by_carrier",
        ...             by=["carrier"],
        ...             window=Window("1 hour"),
        ...             measures={"flights": Count(), "mean_delay": Mean("delay"), "median": Quantile("delay", 0.5)},
        ...         )
        ...     ],
        ...     suite="expectations/flights.json",
        ... )
        >>> flights.event_schema.names
        ('flight_id', 'carrier', 'delay', 'departure')
        >>> flights.allowed_lateness
        datetime.timedelta(seconds=600)

        All mistakes are reported at once:

        >>> Pipeline(
        ...     name="flights",
        ...     source=KinesisStream("flights"),
        ...     schema="flight_id STRING, delay BIGINT, departure TIMESTAMP",
        ...     event_time="departed",
        ...     key=["flight_id"],
        ...     rollups=[
        ...         Rollup("by_carrier", by=["carrier"], window=Window("1 hour"), measures={"mean": Mean("flight_id")})
        ...     ],
        ...     suite="expectations/flights.json",
        ... )
        Traceback (most recent call last):
        ...
        tidemark.core.errors.DefinitionError: pipeline 'flights':
        event_time: unknown column 'departed'; the schema has flight_id, delay, departure;
        rollup 'by_carrier': unknown column 'carrier'; the schema has flight_id, delay, departure;
        rollup 'by_carrier', measure 'mean': Mean('flight_id') needs a number, but flight_id is STRING
    """

    name: str
    """Name of the pipeline, and of the schema of its tables and views: lower-case letters, digits and underscores."""
    source: KinesisStream
    """The stream that its events come from."""
    schema: str
    """Columns of an event, as Spark DDL. An event is a JSON object with these fields; others are ignored."""
    event_time: str
    """The TIMESTAMP column that says when the event happened."""
    key: Sequence[str]
    """Columns that identify one event, however often it was delivered."""
    rollups: Sequence[Rollup]
    """What is aggregated; each rollup is a serving view. May be empty: then there is silver alone."""
    suite: str
    """Path of the Great Expectations suite, below the project: one suite for the stream's row rules and the batch."""
    description: str = ""
    """What the pipeline is for, in a sentence: shown with its DAGs and by ``tidemark pipelines``."""
    required: Sequence[str] = ()
    """Columns that must not be null, beside the key and the event time."""
    deduplication_horizon: Duration = timedelta(hours=1)
    """How long the stream remembers a key after it first arrived; a reprocess looks at all of the date."""
    records: RecordFormat = "object"
    """What a record of the stream holds: one JSON object, ``"lines"`` of them, or an ``"array"`` of them. Each object
    is an event of its own."""
    earliest: date = date(1970, 1, 1)
    """The first event date that is taken for one; an event from before is quarantined. Every date that has an event is
    a partition of its own."""
    max_future: Duration = timedelta(days=1)
    """How far an event time may lie ahead of its arrival before the row is quarantined; 100 years at most."""
    allowed_lateness: Duration = timedelta(minutes=10)
    """How far the watermark runs behind the newest event time; a window is final once the watermark passed its end."""
    segment_length: Duration = timedelta(minutes=5)
    """How long a segment of the log stays open before the ingest stream seals it."""
    timezone: str = "UTC"
    """IANA name of the zone whose calendar dates are the event dates, and whose midnights daily windows start at.

    Another zone moves events between dates: reprocess all dates after a change. Spark, DuckDB and Python each bring a
    time zone database; where their releases differ over a zone's rules, so do the ends of its daily windows.
    """
    streams: Literal["continuous", "scheduled"] = "continuous"
    """How Airflow runs the streams: one driver that is kept alive, or one at each time of ``streams_schedule``, which
    ends once it has read everything there is."""
    streams_schedule: str = "*/15 * * * *"
    """When scheduled streams run: a cron expression."""
    max_lag: Duration = timedelta(minutes=15)
    """How long a record may be in bronze before refine has passed it; beyond that Airflow raises an alert."""
    max_staleness: Duration | None = None
    """How long no record may come before Airflow raises an alert; None: the source may pause for any time."""
    cluster_by: Sequence[str] = ()
    """Columns that queries of silver filter by, beside the event date: compaction lays the files of a large date out
    along a Z-order curve of them, so that such queries open few."""
    target_file_mb: int = Field(default=128, ge=1, le=4096)
    """Size of the files that compaction aims at, in MiB."""
    landing: str | None = None
    """``s3://BUCKET/FOLDER/`` where files of events land, as lines of JSON, gzipped or not: Airflow puts them into the
    stream. None: events come by the stream alone."""
    sample: str | None = None
    """``module:function`` that yields sample events for ``tidemark produce``; None: events come from a file."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise DefinitionError(f"pipeline {self.name!r}", problems)

    @cached_property
    def event_schema(self) -> EventSchema:
        """The parsed schema."""
        return parse_ddl(self.schema, self.event_time)

    def rollup(self, name: str) -> Rollup:
        """The rollup of that name.

        Raises:
            DefinitionError: there is none; the message lists the existing ones.
        """
        for rollup in self.rollups:
            if rollup.name == name:
                return rollup
        known = ", ".join(rollup.name for rollup in self.rollups)
        raise DefinitionError(f"pipeline {self.name!r}", [f"no rollup {name!r}; it has {known}"])

    def column_type(self, name: str) -> ColumnType:
        """Type of an event column.

        Raises:
            KeyError: there is no column of that name.
        """
        return self.event_schema[name]

    def _problems(self) -> list[str]:
        problems = []
        if not _IDENTIFIER.fullmatch(self.name):
            problems.append("a name is lower-case letters, digits and underscores, starting with a letter")
        if self.name in RESERVED_SCHEMAS:
            problems.append("is the name of a schema that DuckDB has itself; choose another")
        if not _STREAM_NAME.fullmatch(self.source.name):
            problems.append(f"{self.source.name!r} is not the name of a Kinesis stream (letters, digits and _.-)")
        try:
            schema = parse_ddl(self.schema, self.event_time)
        except ValueError as error:
            return [*problems, str(error)]
        problems += [
            f"column {name!r} has a name that Tidemark uses itself"
            for name in schema.names
            if name in RESERVED_FOR_EVENTS
        ]
        problems += [
            f"column {name!r}: a name is lower-case letters, digits and underscores"
            for name in schema.names
            if not _IDENTIFIER.fullmatch(name)
        ]
        problems += _unknown("event_time", [self.event_time], schema)
        if self.event_time in schema and schema[self.event_time].sql != "TIMESTAMP":
            problems.append(f"event_time {self.event_time!r} must be a TIMESTAMP, but is {schema[self.event_time].sql}")
        if not self.key:
            problems.append("key names no column: say what identifies one event")
        problems += _unknown("key", self.key, schema) + _unknown("required", self.required, schema)
        problems += _cluster_problems(self.cluster_by, schema)
        problems += self._time_problems()
        problems += _zone_problems(self.timezone)
        if len(self.streams_schedule.split()) != 5:
            problems.append(f"streams_schedule {self.streams_schedule!r} is not a cron expression of five fields")
        if self.landing is not None and not _LANDING.fullmatch(self.landing):
            problems.append(
                f"landing {self.landing!r} is not a folder in S3: write s3://BUCKET/FOLDER/, without wildcards"
            )
        elif self.landing is not None and len(self.landing.partition("//")[2].encode()) > _LANDING_BYTES:
            problems.append(f"landing {self.landing!r} is longer than {_LANDING_BYTES} bytes: choose a shorter folder")
        names = [rollup.name for rollup in self.rollups]
        problems += [f"two rollups are called {name!r}" for name in _twice(names)]
        for rollup in self.rollups:
            problems += _rollup_problems(rollup, schema)
        return problems

    def _time_problems(self) -> list[str]:
        # So windows around an event stay within the years 1 to 9999, which is all that some readers can hold.
        problems = []
        if self.earliest < _EARLIEST_OF_ALL:
            problems.append(f"earliest is {self.earliest}; the earliest that it may be is {_EARLIEST_OF_ALL}")
        if self.max_future > _FARTHEST_FUTURE:
            problems.append(f"max_future is {self.max_future.days:,} days; at most it may be {_FARTHEST_FUTURE.days:,}")
        return problems


def _unknown(where: str, names: Sequence[str], schema: EventSchema) -> list[str]:
    return [
        f"{where}: unknown column {name!r}; the schema has {', '.join(schema.names)}"
        for name in names
        if name not in schema
    ]


def _cluster_problems(names: Sequence[str], schema: EventSchema) -> list[str]:
    problems = _unknown("cluster_by", names, schema)
    problems += [f"cluster_by names {name!r} twice; name it once" for name in _twice(names)]
    if len(names) > _MOST_CLUSTERED:
        problems.append(
            f"cluster_by names {len(names)} columns; a curve through more than {_MOST_CLUSTERED} helps none of them: "
            "keep those that queries filter by most"
        )
    return problems


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


@cache
def _zones() -> list[str]:
    # It looks at each file of the machine's database: 40 ms of every parse of a DAG file, for each definition.
    return sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone)


def _zone_problems(name: str) -> list[str]:
    if name == "UTC" or name in _zones():
        return []
    close = difflib.get_close_matches(name, _zones(), n=1, cutoff=0.5)
    return [
        f"timezone {name!r} is not an IANA time zone; write one such as {(close or ['Europe/Berlin'])[0]!r}, or 'UTC'"
    ]


def _state_problems(rollup: Rollup, schema: EventSchema) -> list[str]:
    """What a table of the rollup would hold twice under one name: a key, and what is kept of a measure."""
    found = []
    for name, measure in rollup.measures.items():
        if all(column in schema for column in measure.columns) and not measure.problems(schema):
            stored = measure.stored(name)
            kept = {state.column for state in measure.states(name, schema)} | ({stored.column} if stored else set())
            found += [
                f"rollup {rollup.name!r}: by names {column!r}, which is also what is kept of measure {name!r};"
                " give the measure another name"
                for column in sorted(kept & set(rollup.by))
            ]
    return found


def _rollup_problems(rollup: Rollup, schema: EventSchema) -> list[str]:
    where = f"rollup {rollup.name!r}"
    problems = []
    if not _IDENTIFIER.fullmatch(rollup.name):
        problems.append(f"{where}: a name is lower-case letters, digits and underscores")
    if rollup.name in RESERVED_TABLES or rollup.name.startswith(("batch_", "speed_")):
        problems.append(f"{where}: is named as a table of Tidemark's own; choose another name for it")
    problems += _unknown(where, rollup.by, schema)
    problems += [f"{where}: by names {name!r} twice; name it once" for name in _twice(rollup.by)]
    problems += _state_problems(rollup, schema)
    if not rollup.measures:
        problems.append(f"{where}: has no measure; give it one, such as Count()")
    for name, measure in rollup.measures.items():
        if not _IDENTIFIER.fullmatch(name) or "__" in name:
            problems.append(f"{where}: measure {name!r}: a name is lower-case letters, digits and single underscores")
        if name in RESERVED_FOR_MEASURES or name in rollup.by:
            problems.append(f"{where}: measure {name!r} has the name of another column")
        problems += _unknown(f"{where}, measure {name!r}", measure.columns, schema)
        problems += [f"{where}, measure {name!r}: {problem}" for problem in measure.problems(schema)]
    return problems
