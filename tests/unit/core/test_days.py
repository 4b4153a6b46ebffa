"""Ranges of event dates."""

from datetime import date

from tidemark.core.days import days_between, in_a_row

DAYS = [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 3)]


def test_dates_are_joined_where_they_follow_one_another() -> None:
    ranges = in_a_row(reversed(DAYS))
    assert ranges == [(DAYS[0], date(2026, 2, 2)), (DAYS[2], date(2026, 2, 4))]
    assert [str(days) for days in ranges] == ["2026-01-31 to 2026-02-01", "2026-02-03"]
    assert [day for days in ranges for day in days_between(*days)] == DAYS
    assert in_a_row([]) == []
