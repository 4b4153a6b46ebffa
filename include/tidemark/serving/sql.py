"""The serving view as one SQL text over two Delta tables.

For an event date d let S_d be the segment through which the batch table covers d. Then
``serving = batch(d) + speed rows of d with segment > S_d``, where + merges partial aggregates. Whoever runs the text
must pin the batch table's version first and the speed table's second; then every answer is that of a prefix of the log.
"""

from typing import Literal

from tidemark.definition import Pipeline, Rollup
from tidemark.definition.measures import Dialect

Layer = Literal["batch", "speed"]


def serving_sql(
    pipeline: Pipeline,
    rollup: Rollup,
    dialect: Dialect,
    *,
    batch: str = "batch",
    speed: str = "speed",
    layer: Layer | None = None,
) -> str:
    """One SELECT over the relations ``batch`` and ``speed``. Grain: one row a key and window that has an event.

    Columns: the keys, ``window_start``, ``window_end`` (exclusive), the measures, ``final`` (the watermark has passed
    the window's end), ``newest_event`` and ``newest_arrival``. ``layer`` restricts the answer to what one layer
    contributes.
    """
    schema = pipeline.events
    states = rollup.states(schema)
    keys = list(rollup.by)
    columns = ", ".join([*keys, "pane_start", *(s.column for s in states), "max_event_time", "max_arrival_time"])
    of_speed = ", ".join(f"s.{column}" for column in columns.split(", "))
    parts = {
        "batch": f"SELECT {columns} FROM {batch} WHERE pane_start IS NOT NULL",
        "speed": (
            f"SELECT {of_speed} FROM {speed} AS s LEFT JOIN coverage AS c ON s.event_date = c.event_date\n"
            "        WHERE s.segment > coalesce(c.covered_segment, -1)"
        ),
    }
    chosen = [parts[layer]] if layer else list(parts.values())
    pane, length = (int(d.total_seconds()) for d in (rollup.window.pane, rollup.window.length))
    lateness = int(pipeline.allowed_lateness.total_seconds())
    starts = "pane_start AS window_start"
    slides = ""
    if rollup.window.panes > 1:
        starts = f"pane_start - slide * INTERVAL '{pane}' SECOND AS window_start"
        slides = " CROSS JOIN (VALUES " + ", ".join(f"({n})" for n in range(rollup.window.panes)) + ") AS slides(slide)"
    merged = "".join(f", {state.merge[dialect]} AS {state.column}" for state in states)
    finished = "".join(f", {m.finish(name, schema, dialect)} AS {name}" for name, m in rollup.measures.items())
    by = ", ".join([*keys, "window_start"])
    union = "\n        UNION ALL\n        ".join(chosen)
    state_columns = "".join(f", {state.column}" for state in states)
    return f"""WITH coverage AS (
    SELECT event_date, max(covered_segment) AS covered_segment FROM {batch} GROUP BY event_date
), parts AS (
        {union}
), watermark AS (
    SELECT max(max_event_time) - INTERVAL '{lateness}' SECOND AS watermark FROM parts
), panes AS (
    SELECT {", ".join([*keys, starts])}{state_columns}, max_event_time, max_arrival_time FROM parts{slides}
), merged AS (
    SELECT {by}{merged}, max(max_event_time) AS newest_event, max(max_arrival_time) AS newest_arrival
    FROM panes GROUP BY {by}
)
SELECT {by}, window_start + INTERVAL '{length}' SECOND AS window_end{finished},
    window_start + INTERVAL '{length}' SECOND <= watermark AS final, newest_event, newest_arrival
FROM merged CROSS JOIN watermark
"""
