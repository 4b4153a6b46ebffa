"""Ways to break the product on purpose, each against one promise of how definitions and records are taken.

The schedules of definitions must find out each of them.
"""

from collections.abc import Callable
from typing import Any

from merge_mutations import replace

MUTATIONS: dict[str, Callable[[], None]] = {}


def mutation(function: Callable[[], None]) -> Callable[[], None]:
    MUTATIONS[function.__name__.replace("_", "-")] = function
    return function


@mutation
def not_rolled_up_anew() -> None:
    """A rollup that comes back goes on where it left."""
    replace("tidemark_spark.speed.rollup_history", "lacks_history", lambda _: lambda *_: False)


@mutation
def last_definition_only() -> None:
    """A rollup is compared with the definition before, and not with the newest one that had it."""

    def make(_: Any) -> Any:
        return lambda self, name: self.last.definition["rollups"].get(name) if self.last else None

    replace("tidemark.lake.generations.history", "History.newest", make)


@mutation
def by_any_definition() -> None:
    """A reprocess publishes whatever definition the streams have begun meanwhile."""
    replace("tidemark.lake.publish", "_still_in_force", lambda _: lambda *_: {})
    replace("tidemark_spark.batch.reprocess", "current_generation", lambda _: lambda *_: _newest())


def _newest() -> Any:
    from tidemark.lake.generations import Generation

    return Generation(2**31, -1)


@mutation
def trailing_text() -> None:
    """What follows the first JSON document of a record is left out."""

    def make(value: Any) -> Any:
        documents = __import__("tidemark.core.documents", fromlist=["_"])

        def first(text: str) -> Any:
            try:
                return value(text)
            except documents.Problem as problem:
                if str(problem) != "trailing_text":
                    raise
                start = documents._skip(text, 0)
                return value(text[start : documents._scan(text, start)[1]])

        return first

    replace("tidemark.core.documents", "_value", make)


@mutation
def milliseconds() -> None:
    """The stream compares the times of keys to the millisecond."""

    def make(key_columns: Any) -> Any:
        from pyspark.sql import functions as F

        def rounded(pipeline: Any) -> Any:
            return [
                (F.floor(column / 1000) if pipeline.event_schema[name].sql == "TIMESTAMP" else column).alias(name)
                for name, column in zip(pipeline.key, key_columns(pipeline), strict=True)
            ]

        return rounded

    replace("tidemark_spark.transforms.parse", "key_columns", make)


@mutation
def silver_as_index() -> None:
    """A reprocess reads the ingest_batches that silver has rows of, and not those that the log has events of."""

    def make(batches: Any) -> Any:
        def fewer(self: Any, start: Any, end: Any, through: int) -> Any:
            return batches(self, start, end, through)[:1]

        return fewer

    replace("tidemark.lake.log", "DateIndex.batches", make)


@mutation
def through_a_double() -> None:
    """Numbers pass through a double."""

    def make(objects: Any) -> Any:
        import pyarrow as pa

        def doubled(self: Any, records: Any) -> Any:
            raw, problems = objects(self, records)
            columns = [raw.field(n) for n in range(raw.type.num_fields)]
            at = self.columns.index("money")
            columns[at] = pa.array([_double(text) for text in columns[at].to_pylist()], pa.string())
            return pa.StructArray.from_arrays(columns, names=self.columns), problems

        return doubled

    replace("tidemark.core.documents", "Splitter.objects", make)


def _double(text: str | None) -> str | None:
    try:
        return text if text is None else repr(float(text) * 1.0000001)
    except ValueError:
        return text


@mutation
def arrivals_taken() -> None:
    """Events that a changed zone moves into a range are taken there, though silver has them under another date."""
    replace("tidemark_spark.batch.slice", "refuse_arrivals", lambda _: lambda *_: None)


@mutation
def recovered_stay() -> None:
    """Records that have become events stay in quarantine."""
    replace("tidemark_spark.batch.slice", "release_recovered", lambda _: lambda *_: 0)


@mutation
def newly_broken_lost() -> None:
    """Events that are none any more leave silver and come to nowhere."""
    replace("tidemark_spark.batch.slice", "quarantine_newly_broken", lambda _: lambda *_: 0)


@mutation
def lacking_served() -> None:
    """Measures that came later are served for dates from before."""
    replace("tidemark.lake.generations.history", "History.added", lambda _: lambda *_: [])
