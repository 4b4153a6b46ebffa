"""A made-up shop's clicks, with duplicates, late, out-of-order and broken records at stated rates."""

import random
import uuid
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

KINDS = ("click", "view", "purchase")
_WEIGHTS = (60, 35, 5)
_BROKEN: tuple[bytes, ...] = (b"{not json", b"\xff\xfe\x00", b"[]", b'{"event": "click"}', b"")


def events(
    limit: int | None = None,
    *,
    seed: int = 1,
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    per_second: float = 50.0,
    duplicates: float = 0.02,
    late: float = 0.02,
    out_of_order: float = 0.1,
    broken: float = 0.01,
) -> Iterator[dict[str, Any] | bytes]:
    """``limit`` records (endless without), the same for the same seed; a broken one comes as raw bytes.

    Event time runs at ``per_second`` events a second from ``start``. Rates are shares of all records: a duplicate
    repeats one of the last 1,000 events, a late one is 1 to 48 hours old, an out-of-order one up to a minute.
    """
    randomness = random.Random(seed)
    recent: deque[dict[str, Any]] = deque(maxlen=1000)
    number = 0
    while limit is None or number < limit:
        number += 1
        draw = randomness.random()
        if draw < broken:
            yield randomness.choice(_BROKEN)
            continue
        if draw < broken + duplicates and recent:
            yield randomness.choice(recent)
            continue
        when = start + timedelta(seconds=number / per_second)
        if draw < broken + duplicates + late:
            when -= timedelta(hours=randomness.uniform(1, 48))
        elif draw < broken + duplicates + late + out_of_order:
            when -= timedelta(seconds=randomness.uniform(0, 60))
        kind = randomness.choices(KINDS, _WEIGHTS)[0]
        event = {
            "event_id": str(uuid.UUID(int=randomness.getrandbits(128), version=4)),
            "user_id": randomness.randrange(1, 50_000),
            "event": kind,
            "value": str(Decimal(randomness.randrange(100, 50_000)) / 100) if kind == "purchase" else "0",
            "event_time": when.isoformat(),
        }
        recent.append(event)
        yield event
