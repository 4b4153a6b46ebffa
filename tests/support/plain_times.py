"""Times as Python reads them: what the product's own reading is held against."""

import re
from datetime import UTC, datetime, timedelta

_TIME = re.compile(
    r" {0,9}(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d?)(?::(\d\d?)(?:\.(\d+))?)?(?: ?(Z|UTC|GMT|[+-].+?))?)? {0,9}",
    re.ASCII,
)
_OFFSET = re.compile(r"([+-])(\d\d?)(?::?(\d\d)(?::(\d\d))?)?", re.ASCII)


def time_by_python(text: str) -> datetime | None:
    """The moment that a text says, to the microsecond, in UTC unless it says otherwise; none where it is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    *parts, fraction, zone = match.groups(default="")
    offset = timedelta(0)
    if zone[:1] in ("+", "-"):
        told = _OFFSET.fullmatch(zone)
        if told is None or int(told[2]) > 18:
            return None
        hours, minutes, seconds = (int(part or 0) for part in told.groups()[1:])
        offset = timedelta(hours=hours, minutes=minutes, seconds=seconds) * (1 if told[1] == "+" else -1)
        if abs(offset) > timedelta(hours=18) or max(minutes, seconds) > 59:
            return None
    try:
        local = datetime(*(int(part or 0) for part in parts), int(fraction[:6].ljust(6, "0") or 0))  # type: ignore[arg-type,misc]
        return (local - offset).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
