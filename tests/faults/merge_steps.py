"""The steps of a merge schedule, drawn from a seed."""

import random
from dataclasses import dataclass
from datetime import date, timedelta

from merge_world import DAYS, RELIC_DAY

STEPS = 24
ALL = (RELIC_DAY - timedelta(days=1), DAYS[-1] + timedelta(days=1))
"""A range of event dates that holds every event."""


@dataclass(frozen=True)
class Step:
    """``records`` are put over ``pause`` seconds, then the step is done."""

    kind: str
    records: int
    pause: float
    days: tuple[date, date] = ALL
    after_commit: str | None = None
    lose: tuple[str, ...] = ()
    shards: int = 1

    def __str__(self) -> str:
        said = [f"put {self.records} in {self.pause:.1f} s, {self.kind}"]
        if self.kind in RANGED:
            said.append(f"[{self.days[0]}, {self.days[1]})")
        if self.after_commit:
            said.append(f"after a commit to {self.after_commit}")
        if self.lose:
            said.append(f"losing the checkpoints of {', '.join(self.lose)}")
        if self.kind == "reshard":
            said.append(f"to {self.shards}")
        return " ".join(said)


KIND_WEIGHTS = {
    "reprocess": 8,
    "compact": 3,
    "fold": 4,
    "kill streams": 5,
    "kill operations": 3,
    "reshard": 1,
}
RANGED = ("reprocess", "reconcile")
"""Operations on a range of event dates."""
SEAMS = {
    "kill streams": ["bronze", "quarantine", "refine_log", "speed_daily", "speed_sliding", "silver", None, None],
    "kill operations": ["silver", "batch_sliding", "batch_daily", None, None],
}


def draw(seed: int, count: int) -> list[Step]:
    """The steps of a seed; those of a smaller count are their beginning."""
    rng = random.Random(f"{seed} steps")
    steps = []
    for _ in range(count):
        kind = rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))[0]
        first = rng.choice([*DAYS, *DAYS, *ALL[:1]])
        last = rng.choice([day for day in (*DAYS, ALL[1]) if day > first] or [ALL[1]])
        lost = rng.choice([("ingest",), ("refine",), ("ingest", "refine")]) if rng.random() < 0.4 else ()
        steps.append(
            Step(
                kind=kind,
                records=rng.choice([0, 20, 60, 200]),
                pause=rng.uniform(0, 5),
                days=(first, last),
                after_commit=rng.choice(SEAMS.get(kind, [None])),
                lose=lost if kind == "kill streams" else (),
                shards=rng.choice([1, 2, 3]),
            )
        )
    return steps
