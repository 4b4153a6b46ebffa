"""Which event dates a run is about: what its form says, or its data interval."""

from datetime import date, datetime, timedelta

from tidemark.core.errors import TidemarkError

MAX_DAYS = 400
"""Longest range of one run: a year and some; longer ones are backfills."""


def plan_range(
    start: str | None, end: str | None, interval_start: datetime | None, interval_end: datetime | None, today: date
) -> tuple[date, date]:
    """The half-open range of event dates ``[from, to)`` of a run.

    Raises:
        TidemarkError: only one end is given; the range is empty, too long, or in the future; or there is neither a
            range nor a data interval.
    """
    if bool(start) != bool(end):
        raise TidemarkError("give both from and to, or neither to take the run's data interval")
    if start and end:
        try:
            first, last = date.fromisoformat(start), date.fromisoformat(end)
        except ValueError as error:
            raise TidemarkError(f"from and to are dates like 2013-01-31, not {start!r} and {end!r}") from error
    elif interval_start and interval_end:
        first, last = interval_start.date(), interval_end.date()
        last = max(last, first + timedelta(days=1))
    else:
        raise TidemarkError("a run without a logical date has no data interval: give from and to")
    if last <= first:
        raise TidemarkError(f"the range [{first}, {last}) is empty: to is exclusive and must come after from")
    if (last - first).days > MAX_DAYS:
        raise TidemarkError(
            f"the range [{first}, {last}) has more than {MAX_DAYS} days: use a backfill, or several runs"
        )
    if last > today + timedelta(days=2):
        raise TidemarkError(f"the range [{first}, {last}) reaches into the future: today is {today}")
    return first, last
