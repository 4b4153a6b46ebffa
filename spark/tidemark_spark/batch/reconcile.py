"""Reconcile: a range of event dates recomputed from bronze, against what the speed layer and the serving view hold.

The recomputation reads bronze and nothing else, so it sees also what never came to silver. It is compared pane by pane
with pinned snapshots, through the position in the log that they state, beside running streams. No drift is the norm;
where there is some, the pane, both values and the likely cause are told.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from tidemark.core.days import days_between
from tidemark.core.settings import Settings
from tidemark.definition import ApproxDistinct, Pipeline, Rollup
from tidemark.definition.measures import Dialect
from tidemark.lake.generations import History
from tidemark.lake.log import DateIndex
from tidemark.lake.publish import coverage
from tidemark.lake.snapshots import NOTHING, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import DATED_APP, removed_app
from tidemark.quality import Suite
from tidemark.serving import Snapshot, pin
from tidemark_spark.batch.slice import deduplicate
from tidemark_spark.transforms.parse import dated, parse, valid_events
from tidemark_spark.transforms.rollups import merge_partials, partial_aggregates

_TEMPORAL = ("date", "timestamp")
MAX_SHOWN = 50
"""Drifting values of a rollup and layer that are fetched and shown; all are counted."""
DISTINCT_TOLERANCE = 0.13
"""Relative difference of two distinct counts beyond which they drift: four standard errors (1.6 %) of either sketch."""


class Drift(NamedTuple):
    """One value of one pane that differs."""

    rollup: str
    layer: str
    pane: str
    measure: str
    recomputed: str
    found: str
    cause: str


class Reconciled(NamedTuple):
    """What a reconcile found. ``served``: values of the serving view that drift; ``speed``: of the speed layer."""

    position: int
    events: int
    panes: int
    values: int
    served: int
    speed: int
    drifts: list[Drift]


def reconcile(
    spark: SparkSession,
    pipeline: Pipeline,
    suite: Suite,
    settings: Settings,
    start: date,
    end: date,
    *,
    say: Callable[[str], None] = print,
) -> Reconciled:
    """Compare every pane of the event dates in ``[start, end)``.

    Bronze is read from ``start`` less ``max_future`` of ingest time on: an event may be late by any time, no earlier.
    """
    tables = tables_of(pipeline, settings)
    snapshots = {rollup.name: pin(pipeline, rollup, settings) for rollup in pipeline.rollups}
    positions = [snapshot.position for snapshot in snapshots.values()]
    truth = _events(spark, pipeline, suite, settings, start, end, max(positions)).persist()
    silver = spark.read.format("delta").load(tables.silver.uri).where(dated(start, end))
    total = Reconciled(min(positions), truth.count(), 0, 0, 0, 0, [])
    former = _former(pipeline, settings)
    say(f"{pipeline.name}: {total.events:,} events of [{start}, {end}) in bronze through ingest_batch {total.position}")
    try:
        for rollup in pipeline.rollups:
            compared = _Comparison(spark, pipeline, rollup, snapshots[rollup.name], truth, silver, start, end, former)
            for layer in ("serving", "speed"):
                panes, count, drifts = compared.run(layer)
                say(f"{rollup.name}, {layer}: {panes:,} panes, {count:,} values drift")
                total = total._replace(
                    panes=total.panes + panes,
                    values=total.values + panes * len(rollup.measures),
                    served=total.served + (count if layer == "serving" else 0),
                    speed=total.speed + (count if layer == "speed" else 0),
                    drifts=[*total.drifts, *drifts],
                )
    finally:
        truth.unpersist()
    return total


def _events(
    spark: SparkSession, pipeline: Pipeline, suite: Suite, settings: Settings, start: date, end: date, through: int
) -> DataFrame:
    since = datetime.combine(start, datetime.min.time()) - pipeline.max_future - timedelta(days=1)
    bronze = spark.read.format("delta").load(tables_of(pipeline, settings).bronze.uri)
    read = bronze.where((F.col("ingest_date") >= since.date()) & (F.col("ingest_batch") <= through))
    return deduplicate(valid_events(parse(read, pipeline, suite), pipeline), pipeline).where(dated(start, end))


class _Former(NamedTuple):
    """What was refined by other definitions than the one in force: up to a segment, and of which event dates.

    ``dates`` is None where the log's index does not tell the dates by which they were rolled up.
    """

    segment: int
    dates: set[date] | None

    def has(self, day: date) -> bool:
        """Whether rows of an event date may be among it."""
        return self.dates is None or day in self.dates


def _former(pipeline: Pipeline, settings: Settings) -> _Former:
    history = History.of(pipeline, settings)
    if history.last is None or history.last.generation.number == 0:
        return _Former(NOTHING, set())
    after = history.last.generation.after
    refine_log = open_table(tables_of(pipeline, settings).refine_log, settings)
    index = DateIndex.of(refine_log, history.dated_otherwise(pipeline, refine_log))
    # Once the log was dated anew, it says by which dates events are read now, and not by which they were rolled up.
    is_known = index.is_complete(after) and position(refine_log, DATED_APP) == NOTHING
    dates = set(index.dates(date.min, date.max, after)) if is_known else None
    return _Former(index.segment(after), dates)


class _Comparison:
    """One rollup's panes, recomputed and as found."""

    def __init__(
        self,
        spark: SparkSession,
        pipeline: Pipeline,
        rollup: Rollup,
        snapshot: Snapshot,
        truth: DataFrame,
        silver: DataFrame,
        start: date,
        end: date,
        former: "_Former",
    ) -> None:
        self._spark = spark
        self._pipeline = pipeline
        self._rollup = rollup
        self._snapshot = snapshot
        self._truth = truth.where(F.col("ingest_batch") <= snapshot.position)
        self._silver = silver.where(F.col("ingest_batch") <= snapshot.position)
        self._days = days_between(start, end)
        self._inside = dated(start, end)
        self._keys = [*rollup.by, "pane_start", "event_date"]
        self._lacking = snapshot.missing_measures()
        self._former = former
        self._served = 0
        """Values of the serving view that drift, once they have been compared."""

    def run(self, layer: str) -> tuple[int, int, list[Drift]]:
        """Panes compared, values that drift, and the first of them."""
        expected, found = self._serving() if layer == "serving" else self._speed()
        both = self._side_by_side(self._finished(expected, "e"), self._finished(found, "f")).persist()
        try:
            values = [(name, self._differs(name), f"_e_{name}", f"_f_{name}") for name in self._rollup.measures]
            counts = both.agg(
                F.count("*").alias("_panes"), *(F.count_if(differs).alias(name) for name, differs, _, _ in values)
            ).first()
            assert counts is not None
            drifts, kinds = [], dict(both.dtypes)
            drifting = sum(counts[name] for name in self._rollup.measures)
            if layer == "serving":
                self._served = drifting
            for name, differs, e, f in values:
                if counts[name]:
                    # As text: a table may hold dates and times that Python cannot.
                    shown = [F.col(v).cast("string").alias(v) if kinds[v] in _TEMPORAL else F.col(v) for v in (e, f)]
                    ordered = both.where(differs).select(*self._keys, *shown).orderBy(*self._keys)
                    rows = ordered.limit(MAX_SHOWN).collect()
                    drifts += [self._drift(layer, name, row, row[e], row[f]) for row in rows]
            return counts["_panes"], drifting, drifts
        finally:
            both.unpersist()

    def _side_by_side(self, expected: DataFrame, found: DataFrame) -> DataFrame:
        """Both finished values of each pane; a key that is null is a key like others."""
        same = reduce(and_, [expected[key].eqNullSafe(found[key]) for key in self._keys])
        # Every pane has its start, so a side without one lacks the pane.
        is_expected = expected["pane_start"].isNotNull()
        keys = [F.when(is_expected, expected[key]).otherwise(found[key]).alias(key) for key in self._keys]
        values = [f"_{side}_{name}" for side in "ef" for name in self._rollup.measures]
        return expected.join(found, same, "full_outer").select(*keys, *values)

    def _serving(self) -> tuple[DataFrame, DataFrame]:
        batch = self._read(self._snapshot.batch).where(self._inside)
        covered = batch.groupBy("event_date").agg(F.max("covered_segment").alias("_covered"))
        speed = self._read(self._snapshot.speed).where(self._inside).join(covered, "event_date", "left")
        speed = speed.where(F.col("segment") > F.coalesce("_covered", F.lit(NOTHING)))
        columns = [*self._keys, *self._states(), "max_event_time", "max_arrival_time", "ingest_batch"]
        parts = batch.where("pane_start IS NOT NULL").select(columns).unionByName(speed.select(columns))
        return self._truth, merge_partials(parts, self._pipeline, self._rollup, [])

    def _speed(self) -> tuple[DataFrame, DataFrame]:
        after = [(day, self._compared_after(day)) for day in self._days]
        bounds = F.broadcast(self._spark.createDataFrame(after, "event_date DATE, _after BIGINT"))

        def compared(rows: DataFrame) -> DataFrame:
            return rows.join(bounds, "event_date").where(F.col("segment") > F.col("_after")).drop("_after")

        rows = compared(self._read(self._snapshot.speed).where(self._inside))
        return compared(self._truth), merge_partials(rows, self._pipeline, self._rollup, [])

    def _compared_after(self, day: date) -> int:
        """The segment after which the speed rows of a date are compared.

        Those that folding removed are not missing. Those that another definition made are not wrong where a reprocess
        has covered the date since: nothing reads them, and folding will remove them. It never merges across coverage.
        """
        removed = position(self._snapshot.speed, removed_app(day))
        if removed >= self._former.segment or not self._former.has(day):
            return removed
        return max(removed, coverage(self._snapshot.batch, day))

    def _finished(self, rows: DataFrame, side: str) -> DataFrame:
        schema = self._pipeline.event_schema
        if "pane_start" not in rows.columns:
            rows = partial_aggregates(rows, self._pipeline, self._rollup, [])
        finished = [
            F.expr(measure.finish(name, schema, Dialect.SPARK)).alias(f"_{side}_{name}")
            for name, measure in self._rollup.measures.items()
        ]
        return rows.select(*self._keys, *finished)

    def _differs(self, name: str) -> Column:
        if lacking := self._lacking.get(name):
            # Not defined there until the date is reprocessed, and not answered either.
            return ~F.col("event_date").isin(sorted(lacking)) & self._values_differ(name)
        return self._values_differ(name)

    def _values_differ(self, name: str) -> Column:
        expected, found = F.col(f"_e_{name}"), F.col(f"_f_{name}")
        measure = self._rollup.measures[name]
        if measure.exact:
            return ~expected.eqNullSafe(found)
        either_missing = expected.isNull() != found.isNull()
        if isinstance(measure, ApproxDistinct):
            far = F.abs(expected - found) > F.greatest(F.lit(1.0), DISTINCT_TOLERANCE * expected)
            return either_missing | F.coalesce(far, F.lit(False))
        # How far another sketch's value lies off says nothing: its error is one of rank.
        return either_missing

    def _drift(self, layer: str, name: str, row: Any, expected: object, found: object) -> Drift:
        keys = ", ".join(f"{key}={row[key]}" for key in self._keys if key != "event_date")
        return Drift(self._rollup.name, layer, keys, name, _text(expected), _text(found), self._cause(layer, row))

    def _cause(self, layer: str, row: Any) -> str:
        """What silver's rows of the date and key say, against bronze's."""
        if layer == "speed" and not self._served and coverage(self._snapshot.batch, row["event_date"]) != NOTHING:
            return (
                "made before the date was reprocessed: the batch layer answers, and folding removes it; nothing to do"
            )
        pane = F.col("event_date") == F.lit(row["event_date"])
        for key in self._rollup.by:
            pane = pane & F.col(key).eqNullSafe(F.lit(row[key]))
        is_, should = self._silver.where(pane), self._truth.where(pane)
        rows, keys = is_.count(), is_.select(*self._pipeline.key).distinct().count()
        if rows > keys:
            return (
                f"{rows - keys:,} copies came later than the deduplication horizon "
                f"({self._pipeline.deduplication_horizon}) after the first: a reprocess of the date removes them"
            )
        lacking = should.join(is_, list(self._pipeline.key), "left_anti")
        missing = lacking.agg(F.count("*"), F.min("ingest_batch"), F.max("ingest_batch")).first()
        assert missing is not None
        if missing[0]:
            return (
                f"silver lacks {missing[0]:,} events of ingest_batch {missing[1]} to {missing[2]}: reprocess the date"
            )
        return "silver agrees with bronze, the rollup's rows do not: reprocess the date"

    def _states(self) -> list[str]:
        return [state.column for state in self._rollup.states(self._pipeline.event_schema)]

    def _read(self, snapshot: Any) -> DataFrame:
        return self._spark.read.format("delta").option("versionAsOf", snapshot.version()).load(snapshot.table_uri)


def _text(value: object) -> str:
    return "none" if value is None else str(value)
