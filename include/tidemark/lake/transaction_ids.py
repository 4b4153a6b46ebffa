"""Every transaction identifier of the tables' logs, in one place (SetTransaction of the Delta protocol).

Each says how far a table, or an event date of it, has come. delta-rs fails a commit when a concurrent one wrote the
same identifier, which makes each of them a compare-and-set. Strings only: Python workers of Spark import this.
"""

from datetime import date

INGEST_APP = "tidemark/ingest"
"""Transaction of bronze: the highest ingest_batch that it contains."""
SEGMENT_APP = "tidemark/segment"
"""Transaction of bronze: the highest segment that has rows."""
SEALED_APP = "tidemark/sealed"
"""Transaction of bronze: the highest sealed segment. Written by whoever seals; conflicts with a concurrent ingest."""
BATCH_APP = "tidemark/batch"
"""Transaction of batch tables: the highest ingest_batch through which some date is covered."""
GENERATION_APP = "tidemark/generation"
"""Transaction of generations: the newest."""
RECLASSIFY_APP = "tidemark/rejudge"
"""Transaction of quarantine: counts the commits that moved records in or out of it because a definition changed."""
REFINE_APP = "tidemark/refine"
"""Transaction of silver, quarantine, speed and refine_log: the highest ingest_batch that they contain."""
COVERAGE_APP = "tidemark/coverage"
"""Transaction of tables by event date: counts the changes of what is covered or folded, so that no two meet."""
BEGUN_APP = "tidemark/begun"
"""Transaction of a rollup's tables: the generation at which it last came back, and was rolled up anew."""
DATED_APP = "tidemark/dated"
"""Transaction of refine_log: the generation whose dates its older rows state, since a reprocess of everything."""
DEFINITION_APP = "tidemark/definition"
"""Transaction of quarantine, silver and batch tables: the generation of the definition that publishes there."""


def micro_batch_app(checkpoint: str) -> str:
    """Transaction of bronze: the newest micro-batch, by Spark's number, of a checkpoint location."""
    return f"{INGEST_APP}/{checkpoint}"


def micro_batch_records_app(checkpoint: str) -> str:
    """Transaction of bronze: a digest of the records of that micro-batch."""
    return f"{micro_batch_app(checkpoint)}/records"


def covered_app(day: date) -> str:
    """Transaction of silver and of batch tables: the segment through which a reprocess has covered the event date."""
    return f"tidemark/covered/{day.isoformat()}"


def folded_app(day: date) -> str:
    """Transaction of batch tables: the segment through which speed rows of the date may be folded into one another."""
    return f"tidemark/folded/{day.isoformat()}"


def removed_app(day: date) -> str:
    """Transaction of speed tables: the segment through which folding has removed the date's covered rows."""
    return f"tidemark/removed/{day.isoformat()}"


def generation_app(day: date) -> str:
    """Transaction of silver: the generation of the definition by which a reprocess last judged the event date."""
    return f"tidemark/judged/{day.isoformat()}"


def clustered_app(day: date) -> str:
    """Transaction of silver: the segment through which compaction has clustered the date's large partitions."""
    return f"tidemark/clustered/{day.isoformat()}"
