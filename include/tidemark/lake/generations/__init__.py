"""Which definition judged which part of the log, and what a changed one asks for.

The refine stream notes, when it starts with another definition than the one before, from which ingest_batch on that
one holds. Rows that it wrote before were judged by an older *generation*; a reprocess brings them up to date.
With one generation, which is the rule, nothing of this costs anything.
"""

from tidemark.lake.generations.begin import begin_generation, current_generation, lacks_history, refuse_incompatible
from tidemark.lake.generations.fingerprint import deduplication_id
from tidemark.lake.generations.history import Added, Generation, History, Version
from tidemark.lake.generations.plan import Category, Change, Plan, changes, plan

__all__ = [
    "Added",
    "Category",
    "Change",
    "Generation",
    "History",
    "Plan",
    "Version",
    "begin_generation",
    "changes",
    "current_generation",
    "deduplication_id",
    "lacks_history",
    "plan",
    "refuse_incompatible",
]
