"""The generations of a pipeline's definition, and of each of its objects the versions that were in force."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple, Self

import orjson
from deltalake import DeltaTable

from tidemark.core.settings import Settings
from tidemark.definition import Pipeline, Rollup
from tidemark.lake.generations.fingerprint import Object, dating, dating_of, judging, objects
from tidemark.lake.log import Interval
from tidemark.lake.snapshots import NOTHING, open_table, position
from tidemark.lake.tables import tables_of
from tidemark.lake.transaction_ids import DATED_APP

_NEWEST = 2**62


class Generation(NamedTuple):
    """A definition: its number, counted from 0, and the ingest_batch after which it judged the log."""

    number: int
    after: int


class Added(NamedTuple):
    """A measure that a rollup gained when its tables held rows: those of ``dates`` lack it where not covered since."""

    rollup: str
    measure: str
    segment: int
    dates: list[date]

    def missing_dates(self, coverage: Mapping[date, int]) -> set[date]:
        """The dates whose rows still lack it, by the segments through which the batch covers dates."""
        return {day for day in self.dates if coverage.get(day, NOTHING) < self.segment}


class Noted(NamedTuple):
    """One row of the table: a definition that the refine stream ran with."""

    generation: Generation
    definition: dict[str, Any]
    text: str
    added: list[Added]


class Version(NamedTuple):
    """What an object said, from one generation on through others; None: it was not there."""

    value: Any
    generation: int
    log: Interval
    """The ingest_batches for which it was in force; one that is in force yet has no end: ``is_newest``."""

    @property
    def is_newest(self) -> bool:
        """Whether it is in force."""
        return self.log.high == _NEWEST


class History(NamedTuple):
    """All generations of a pipeline, in order."""

    noted: tuple[Noted, ...]

    @classmethod
    def of(cls, pipeline: Pipeline, settings: Settings) -> Self:
        """What the table of generations holds.

        Raises:
            TableError: there is no such table yet.
        """
        snapshot = open_table(tables_of(pipeline, settings).generations, settings)
        rows = snapshot.to_pyarrow_dataset().to_table().to_pylist()
        return cls(tuple(map(_noted, sorted(rows, key=lambda row: row["generation"]))))

    @property
    def last(self) -> Noted | None:
        """The definition in force; None before the streams have run."""
        return self.noted[-1] if self.noted else None

    @property
    def judging(self) -> Generation:
        """The generation since which records have been judged as now; a rollup that comes or goes judges none."""
        return self._since(judging)

    def begun(self, rollup: str) -> int | None:
        """The generation since which a rollup has been there without a break; None where it is not in force."""
        if self.last is None or rollup not in self.last.definition["rollups"]:
            return None
        return self._since(lambda definition: rollup in definition["rollups"]).number

    def came_back(self, rollup: str) -> int | None:
        """``begun``, for a rollup that an earlier generation had and a later one had not; else None.

        Its tables hold what came while it was there, and lack the rest.
        """
        begun = self.begun(rollup)
        before = self.noted[:begun] if begun else ()
        return begun if any(rollup in one.definition["rollups"] for one in before) else None

    def newest(self, rollup: str) -> dict[str, Any] | None:
        """A rollup as the newest generation that had it defined it; None where none had."""
        return next((d["rollups"][rollup] for d in self._newest_first() if rollup in d["rollups"]), None)

    def newest_states(self, rollup: str) -> dict[str, Any]:
        """Every state column that a rollup ever had, as the newest generation that had it defined it."""
        states: dict[str, Any] = {}
        for definition in self._newest_first():
            states = {**definition["rollups"].get(rollup, {"states": {}})["states"], **states}
        return states

    def versions(self) -> dict[Object, list[Version]]:
        """Of each object that ever was, its versions in order."""
        every = [objects(one.definition) for one in self.noted]
        found: dict[Object, list[Version]] = {}
        for thing in dict.fromkeys(thing for some in every for thing in some):
            for n, some in enumerate(every):
                listed = found.setdefault(thing, [])
                if listed and listed[-1].value == some.get(thing):
                    listed[-1] = listed[-1]._replace(log=Interval(listed[-1].log.low, self._log(n).high))
                elif listed or thing in some:
                    listed.append(Version(some.get(thing), n, self._log(n)))
        return found

    def dated_otherwise(self, pipeline: Pipeline, refine_log: DeltaTable) -> list[Interval]:
        """The ingest_batches whose events got their dates from a definition that gives other dates than this one may.

        Another parser, form of records, event time, type of it, or zone. A key, a rule or a limit moves no event to
        another date. A reprocess of everything dates all of them anew (``DATED_APP``).
        """
        now, anew = dating_of(pipeline), position(refine_log, DATED_APP)
        logs = [(self._log(n), self.noted[max(n, anew)].definition) for n in range(len(self.noted))]
        return [log for log, definition in logs if log.low <= log.high and dating(definition) != now]

    def numbered_otherwise(self, refine_log: DeltaTable) -> list[Interval]:
        """The ingest_batches whose events may have other numbers within their records than this definition gives them.

        Lines and elements of an array are counted each in their own way; what is one event has no number. A reprocess
        of some dates keeps the numbers that it finds, and one of everything gives all of them anew (``DATED_APP``).
        """
        found = []
        for log, forms in self._record_forms(refine_log):
            numbers = next((form for form in forms if form != "object"), forms[-1])
            if forms[-1] not in ("object", numbers):
                found.append(log)
        return found

    def split_otherwise(self, refine_log: DeltaTable) -> list[Interval]:
        """The ingest_batches whose records a definition may have split into events in another way than this one does.

        Quarantine may hold rows of such a record under numbers, or as a whole, that this definition does not give. A
        reprocess of everything takes them out (``DATED_APP``).
        """
        return [log for log, forms in self._record_forms(refine_log) if len(set(forms)) > 1]

    def added(self, rollup: Rollup) -> list[Added]:
        """What a rollup has gained since its tables hold rows; all that it came back with, it had from the start."""
        begun = self.begun(rollup.name) or 0
        every = [added for one in self.noted if one.generation.number > begun for added in one.added]
        return [one for one in every if one.rollup == rollup.name and one.measure in rollup.measures]

    def _record_forms(self, refine_log: DeltaTable) -> Iterator[tuple[Interval, list[str]]]:
        """The part of the log of each generation, if not empty, and the forms of records that its events may have."""
        anew = position(refine_log, DATED_APP)
        for n in range(len(self.noted)):
            log = self._log(n)
            if log.low <= log.high:
                yield log, [one.definition.get("records", "object") for one in self.noted[max(n, anew) :]]

    def _newest_first(self) -> list[dict[str, Any]]:
        return [one.definition for one in reversed(self.noted)]

    def _since(self, of: Callable[[Mapping[str, Any]], object]) -> Generation:
        """The first generation of those that end the history and are alike in something."""
        if self.last is None:
            return Generation(0, NOTHING)
        since = self.last
        for one in reversed(self.noted):
            if of(one.definition) != of(self.last.definition):
                break
            since = one
        return since.generation

    def _log(self, n: int) -> Interval:
        # What was refined before the first row was refined by the definition of that row, or by none that is known.
        last = n + 1 == len(self.noted)
        end = _NEWEST if last else self.noted[n + 1].generation.after
        return Interval(self.noted[n].generation.after + 1, end)


def _noted(row: Mapping[str, Any]) -> Noted:
    added = orjson.loads(row["added"]) if row["added"] else []
    return Noted(
        Generation(row["generation"], row["after_ingest_batch"]),
        orjson.loads(row["definition"]),
        row["definition"],
        [Added(**{**one, "dates": [date.fromisoformat(day) for day in one["dates"]]}) for one in added],
    )
