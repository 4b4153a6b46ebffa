"""The serving view as one SQL text over two Delta tables.

For an event date d let S_d be the segment through which the batch table covers d. Then
``serving = batch(d) + speed rows of d with segment > S_d``, where + merges partial aggregates. Whoever runs the text
must pin the batch table's version first and the speed table's second; then every answer is that of a prefix of the log.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Literal

from tidemark.definition import Pipeline, Rollup, SessionWindow, Window
from tidemark.definition.measures import Dialect
from tidemark.serving.times import days_later, later

Layer = Literal["batch", "speed"]


def serving_sql(
    pipeline: Pipeline,
    rollup: Rollup,
    dialect: Dialect,
    *,
    batch: str = "batch",
    speed: str = "speed",
    batch_only: str = "",
    layer: Layer | None = None,
    covered_left_out: bool = False,
    missing_measures: Mapping[str, Collection[date]] | None = None,
) -> str:
    """One SELECT over the relations ``batch`` and ``speed``. Grain: one row a key and window that has an event.

    Columns: the keys, ``window_start``, ``window_end`` (exclusive), the measures, ``final`` (the watermark has passed
    the window's end), ``newest_event`` and ``newest_arrival``. All times are UTC.

    Args:
        pipeline: The pipeline whose rollup it is.
        rollup: The rollup to answer.
        dialect: The engine that runs the text. DuckDB needs the sketch functions for approximate measures.
        batch: The batch table, as the engine names it. Pin its version before that of ``speed``.
        speed: The speed table, as the engine names it.
        batch_only: A relation with rows as from ``finished_sql``, of those of the batch table's rows that are not in
            ``batch``; DuckDB only.
        layer: ``"batch"`` or ``"speed"``: only what that layer contributes; None: both.
        covered_left_out: Whether the rows of ``speed`` that the batch covers were left out before, file by file.
        missing_measures: By measure, dates with rows from before it was defined; a window of any of them has no value.

    Examples:
        With the pipeline and the snapshot of the example in [tidemark.serving][], in a DuckDB of your own:

        >>> import duckdb
        >>> from tidemark.definition import Dialect
        >>> from tidemark.serving import serving_sql
        >>> text = serving_sql(flights, flights.rollup("by_carrier"), Dialect.DUCKDB)
        >>> with duckdb.connect() as own:
        ...     _ = own.register("batch", snapshot.batch.to_pyarrow_table())
        ...     _ = own.register("speed", snapshot.speed.to_pyarrow_table())
        ...     own.sql(f"SELECT carrier, flights, longest_delay FROM ({text})").fetchall()
        [('UA', 3, 45)]
    """
    schema = pipeline.event_schema
    states = rollup.states(schema)
    mark = "`" if dialect is Dialect.SPARK else '"'
    keys = [f"{mark}{name}{mark}" for name in rollup.by]
    columns = [*keys, "pane_start", *(state.column for state in states), "max_event_time", "max_arrival_time"]
    lacks = {name: sorted(days) for name, days in (missing_measures or {}).items() if days}
    dates = {name: ", ".join(f"DATE '{day.isoformat()}'" for day in days) for name, days in lacks.items()}
    flags = "".join(f", event_date IN ({days}) AS _lacks_{name}" for name, days in dates.items())
    flags_of_speed = flags.replace(", event_date IN", ", _s.event_date IN")
    uncovered = (
        f"SELECT {', '.join(f'_s.{column}' for column in columns)}{flags_of_speed} "
        f"FROM {speed} AS _s LEFT JOIN coverage AS _c ON _s.event_date = _c.event_date\n"
        "        WHERE _s.segment > coalesce(_c.covered_segment, -1)"
    )
    parts = {
        "batch": f"SELECT {', '.join(columns)}{flags} FROM {batch} WHERE pane_start IS NOT NULL",
        "speed": f"SELECT {', '.join(columns)}{flags} FROM {speed}" if covered_left_out else uncovered,
    }
    chosen = [parts[layer]] if layer else list(parts.values())
    merged = "".join(f", {state.merge[dialect]} AS {state.column}" for state in states)
    merged += "".join(f", bool_or(_lacks_{name}) AS _lacks_{name}" for name in lacks)
    finishes = {name: measure.finish(name, schema, dialect) for name, measure in rollup.measures.items()}
    finishes |= {name: f"CASE WHEN NOT _lacks_{name} THEN {finishes[name]} END" for name in lacks}
    finished = "".join(f", {text} AS {mark}{name}{mark}" for name, text in finishes.items())
    measures = "".join(f", {mark}{name}{mark}" for name in rollup.measures)
    union = "\n        UNION ALL\n        ".join(chosen)
    if isinstance(rollup.window, SessionWindow):
        windows, group, start = _sessions(rollup.window, keys, dialect), [*keys, "_session"], "min(pane_start) AS "
        end = later("newest_event", rollup.window.gap, dialect)
    else:
        kept = [*(state.column for state in states), "max_event_time", "max_arrival_time"]
        kept += [f"_lacks_{name}" for name in lacks]
        windows, group, start = _panes(rollup.window, pipeline, keys, kept, dialect), [*keys, "window_start"], ""
        end = _end(rollup.window, pipeline, dialect)
    answer = ", ".join([*keys, "window_start"])
    answered = f"SELECT {answer}, {end} AS window_end{finished}, newest_event, newest_arrival FROM merged"
    if batch_only:
        finished_columns = f"{answer}, window_end{measures}, newest_event, newest_arrival"
        answered += f"\n    UNION ALL\n    SELECT {finished_columns} FROM {batch_only}"
    # Each event is in some window, so what is answered tells the newest one, too; Spark would answer twice for it.
    newest = "max(max_event_time)" if dialect is Dialect.SPARK else "max(newest_event)"
    told, kept_once = ("parts", "") if dialect is Dialect.SPARK else ("answered", " MATERIALIZED")
    coverage = f"""coverage AS (
    SELECT event_date, max(covered_segment) AS covered_segment FROM {batch} GROUP BY event_date
), """
    return f"""WITH {"" if covered_left_out else coverage}parts AS (
        {union}
), {windows}, merged AS (
    SELECT {", ".join([*keys, f"{start}window_start"])}{merged}, max(max_event_time) AS newest_event,
        max(max_arrival_time) AS newest_arrival
    FROM windows GROUP BY {", ".join(group)}
), answered AS{kept_once} (
    {answered}
), watermark AS (
    SELECT {later(newest, -pipeline.allowed_lateness, dialect)} AS _watermark FROM {told}
)
SELECT {answer}, window_end{measures},
    window_end <= _watermark AS final, newest_event, newest_arrival
FROM answered CROSS JOIN watermark
"""


def finished_sql(pipeline: Pipeline, rollup: Rollup, dialect: Dialect, batch: str) -> str:
    """A SELECT over rows of the batch table that are one whole window each and hold its finished values.

    Columns: ``event_date``, and those of the serving view but ``final``.
    """
    mark = "`" if dialect is Dialect.SPARK else '"'
    keys = "".join(f", {mark}{name}{mark}" for name in rollup.by)
    stored = {name: kept.column for name, kept in rollup.stored(pipeline.timezone).items()}
    values = "".join(
        f", {stored.get(name) or measure.finish(name, pipeline.event_schema, dialect)} AS {mark}{name}{mark}"
        for name, measure in rollup.measures.items()
    )
    assert isinstance(rollup.window, Window)
    end = _end(rollup.window, pipeline, dialect)
    return f"""SELECT event_date{keys}, window_start, {end} AS window_end{values},
    max_event_time AS newest_event, max_arrival_time AS newest_arrival
FROM (SELECT *, pane_start AS window_start FROM {batch} WHERE pane_start IS NOT NULL)
"""


def _panes(window: Window, pipeline: Pipeline, keys: list[str], kept: list[str], dialect: Dialect) -> str:
    """Each pane as the windows that it is a part of."""
    starts, slides = "pane_start", ""
    if window.panes > 1:
        slides = f" CROSS JOIN (VALUES {', '.join(f'({n})' for n in range(window.panes))}) AS _slides(_slide)"
        if _by_calendar(window, pipeline):
            starts = days_later("pane_start", f"-{window.days} * _slide", pipeline.timezone, dialect)
        else:
            starts = later("pane_start", -window.pane, dialect, times="_slide")
    columns = ", ".join([*keys, f"{starts} AS window_start", *kept])
    return f"windows AS (\n    SELECT {columns} FROM parts{slides}\n)"


def _end(window: Window, pipeline: Pipeline, dialect: Dialect) -> str:
    if _by_calendar(window, pipeline):
        return days_later("window_start", str(window.length // timedelta(days=1)), pipeline.timezone, dialect)
    return later("window_start", window.length, dialect)


def _by_calendar(window: Window, pipeline: Pipeline) -> bool:
    """Whether a window's length depends on the date: days of UTC all have 24 hours."""
    return window.days > 0 and pipeline.timezone != "UTC"


def _sessions(window: SessionWindow, keys: list[str], dialect: Dialect) -> str:
    """Each part of a session with the number of its session: gaps and islands.

    A part opens a session if it begins more than the gap after all before it ended. Of parts that begin at once at most
    one does, and the running sum counts them together, so that their order does not matter.
    """
    by_key = f"PARTITION BY {', '.join(keys)} " if keys else ""
    ended = f"max(max_event_time) OVER ({by_key}ORDER BY pane_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    return f"""opened AS (
    SELECT *, CASE WHEN {later(ended, window.gap, dialect)} >= pane_start THEN 0 ELSE 1 END AS _opens FROM parts
), windows AS (
    SELECT *, sum(_opens) OVER ({by_key}ORDER BY pane_start) AS _session FROM opened
)"""
