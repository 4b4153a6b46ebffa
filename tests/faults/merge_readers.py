"""Readers of a merge schedule, and the judge who compares each answer with the prefix of the log that it states."""

import random
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from merge_golden import ALLOWED_LATENESS, WINDOWS, Cell, Cells, Golden, Violation, difference
from merge_ledger import PANE
from merge_world import DAYS, RELIC, RELIC_DAY, World, micros, moment

import tidemark.serving.view as view
from tidemark.lake.snapshots import open_table, position
from tidemark.lake.tables import Table
from tidemark.lake.transaction_ids import REFINE_APP

PACE_SECONDS = 0.3
LONGEST_PIN_SECONDS = 3.0
"""How long a slow reader may take between its first and its last pin; folding's grace is longer."""


class Judge:
    """Compares answers; keeps the first violation."""

    def __init__(self, golden: Golden) -> None:
        self.golden = golden
        self.answers: Counter[str] = Counter()
        self.positions: set[int] = set()
        self.violation: Violation | None = None
        self.stricter = False
        """Whether answers may be those of the stricter definition, from some answer on."""
        self.tightened = False
        """Whether they must be."""
        self._lock = threading.Lock()
        self._finished: dict[str, list[float]] = {}
        self._reached: dict[str, list[int]] = {}

    def judge(
        self,
        reader: str,
        rollup: str,
        at: int,
        began: float,
        rows: Iterable[dict[str, Any]],
        starts: tuple[datetime, datetime] | None = None,
    ) -> None:
        """One answer, whose pinning began at a monotonic time; raises what is wrong with it.

        ``starts``: the bounds of window starts that were asked for; all without them.
        """
        name = f"{reader} {rollup}"
        got, final = cells_and_final(rows)
        prefix = self.golden.at(at)
        wanted = prefix.cells[rollup]
        if starts:
            wanted = {key: cell for key, cell in wanted.items() if starts[0] <= key[1] < starts[1]}
        if self.stricter:
            tightened = {key: cell for key, cell in wanted.items() if key[0] != RELIC}
            is_new = self.tightened or got != wanted
            if tightened != wanted:
                self.not_before(name, f"{rollup}, by definition,", int(is_new), began, counts=False)
            wanted = tightened if is_new else wanted
        if wrong := difference(got, wanted):
            alike = [p for p in self.golden.positions(-1) if self.golden.at(p).cells[rollup] == got and not starts]
            hint = f"; it is that of position {alike[0]}" if alike else "; it is that of no position"
            raise Violation("2: snapshot", f"{name} at position {at}: {wrong}{hint}")
        length = timedelta(microseconds=WINDOWS[rollup][0])
        done = {key for key in wanted if prefix.newest and key[1] + length <= prefix.newest - ALLOWED_LATENESS}
        if final != done:
            raise Violation("2: final", f"{name} at position {at}: final are {len(final)} windows, not {len(done)}")
        self.not_before(name, rollup, at, began)

    def not_before(self, name: str, what: str, at: int, began: float, *, counts: bool = True) -> None:
        """An answer must not lie before any of its kind that was finished when it began, whoever asked."""
        with self._lock:
            finished, reached = self._finished.setdefault(what, []), self._reached.setdefault(what, [])
            earlier = bisect_left(finished, began)
            if earlier and reached[earlier - 1] > at:
                raise Violation("2: never back", f"{name} went back from position {reached[earlier - 1]} to {at}")
            finished.append(time.monotonic())
            reached.append(max(at, reached[-1]) if reached else at)
            if counts:
                self.answers[name.split()[0]] += 1
                self.positions.add(at)

    def found(self, violation: Violation) -> None:
        """Keep the first violation."""
        with self._lock:
            self.violation = self.violation or violation

    @property
    def total(self) -> int:
        return self.answers.total()


def cells_and_final(rows: Iterable[dict[str, Any]]) -> tuple[Cells, set[tuple[str, Any]]]:
    """Rows of a serving answer as cells, and the keys of those that are final."""
    cells: Cells = {}
    final = set()
    for row in rows:
        key = (row["event"], row["window_start"])
        if key in cells:
            raise Violation("2: snapshot", f"an answer holds {key} twice")
        cells[key] = Cell(
            row["events"], row["valued"], int(row["units"]), row["revenue"], row["least"], row["most"],
            row["newest_event"],
        )  # fmt: skip
        if row["final"]:
            final.add(key)
    return cells, final


class Reader(threading.Thread):
    """Asks over and over until told to end; what an ``ask`` raises is a violation."""

    def __init__(self, name: str, judge: Judge, ask: Callable[[], None], pace_seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._judge = judge
        self._ask = ask
        self._pace = pace_seconds
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._pace):
            try:
                self._ask()
            except Violation as violation:
                self._judge.found(violation)
                return
            except Exception as error:
                self._judge.found(Violation("5: readers", f"{self.name} failed: {type(error).__name__}: {error}"))
                return

    def finish(self) -> None:
        self._end.set()
        self.join(timeout=60)


class Readers:
    """The readers of the checking process: a quick and a slow one of serving by DuckDB, and one of silver."""

    def __init__(self, world: World, judge: Judge, seed: int) -> None:
        self._world = world
        self._judge = judge
        self._pipeline, self._settings, self._tables = world.pipeline, world.settings, world.tables
        self._rng = random.Random(f"{seed} readers")
        self._threads = [
            Reader("quick", judge, self._serving("quick", 0), PACE_SECONDS),
            Reader("slow", judge, self._serving("slow", LONGEST_PIN_SECONDS), PACE_SECONDS),
            Reader("ranges", judge, self._ranges, 2 * PACE_SECONDS),
            Reader("silver", judge, self._silver, 3 * PACE_SECONDS),
        ]

    def __enter__(self) -> "Readers":
        # Between the pins of one snapshot a slow reader pauses.
        assert vars(view)["open_table"] is open_table
        vars(view)["open_table"] = open_slowly
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.finish()
        vars(view)["open_table"] = open_table

    def ask_all(self) -> dict[str, tuple[int, Cells]]:
        """One judged answer for each rollup."""
        answers = {}
        for rollup in self._pipeline.rollups:
            began = time.monotonic()
            snapshot = view.pin(self._pipeline, rollup, self._settings)
            rows = view.query(snapshot).to_pylist()
            self._judge.judge("final", rollup.name, snapshot.position, began, rows)
            answers[rollup.name] = (snapshot.position, cells_and_final(rows)[0])
        return answers

    def _serving(self, name: str, pause: float) -> Callable[[], None]:
        def ask() -> None:
            for rollup in self._pipeline.rollups:
                PAUSES.longest = self._rng.uniform(0, pause)
                began = time.monotonic()
                snapshot = view.pin(self._pipeline, rollup, self._settings)
                PAUSES.longest = 0
                rows = view.query(snapshot).to_pylist()
                self._judge.judge(name, rollup.name, snapshot.position, began, rows)

        return ask

    def _ranges(self) -> None:
        """Answers for windows that start in a range of time, for which not all files are read."""
        for rollup in self._pipeline.rollups:
            first = moment(micros(self._rng.choice([RELIC_DAY, *DAYS])) + self._rng.randrange(8) * PANE)
            starts = first, first + timedelta(hours=self._rng.choice([1, 3, 12, 48, 500]))
            began = time.monotonic()
            snapshot = view.pin(self._pipeline, rollup, self._settings)
            rows = view.query(snapshot, since=starts[0], until=starts[1]).to_pylist()
            self._judge.judge("ranges", rollup.name, snapshot.position, began, rows, starts)

    def _silver(self) -> None:
        """Silver holds the first copy of each key of the prefix that its own log states."""
        began = time.monotonic()
        snapshot = open_table(self._tables.silver, self._settings)
        at = position(snapshot, REFINE_APP)
        rows: pa.Table = snapshot.to_pyarrow_dataset().to_table(columns=["event_id", "shard_id", "sequence_number"])
        prefix, kept_keys = self._judge.golden.at(at), self._judge.golden.kept
        wanted = prefix.keys
        if self._judge.stricter:
            # Nothing comes any more, so the prefix is all there is.
            tightened = sum(kept.event.kind != RELIC for kept in kept_keys.values())
            self._judge.not_before("silver", "silver by definition", int(rows.num_rows != wanted), began, counts=False)
            wanted = tightened if rows.num_rows != wanted else wanted
        keys = Counter(rows["event_id"].to_pylist())
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            raise Violation(
                "1: keys once", f"silver at position {at} holds {len(twice)} keys twice, such as {twice[0]}"
            )
        if len(keys) != wanted:
            raise Violation("1: keys once", f"silver at position {at} holds {len(keys)} keys, not {wanted}")
        for key, shard, number in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
            kept = kept_keys.get(key)
            if kept is None or kept.place != (shard, number) or kept.ingest_batch > at:
                raise Violation("1: keys once", f"silver at position {at} holds {key} of {shard} {number}, not {kept}")
        self._judge.not_before("silver", "silver", at, began)


class _Pauses(threading.local):
    longest: float = 0


PAUSES = _Pauses()


def open_slowly(table: Table, settings: Any) -> Any:
    """Open a table, and then pause for as long as this thread asks for."""
    opened = open_table(table, settings)
    if PAUSES.longest:
        time.sleep(PAUSES.longest)  # not waiting for anything: the worst moment is found by chance
    return opened
