"""A bounded part of the schedules of definitions and hostile records; ``make faults-changes`` runs many."""

import time
from pathlib import Path

from changes_attack import Attack
from pyspark.sql import SparkSession

SEED = 3
BEGIN_STEPS_SECONDS = 100
"""The judgement of everything at the end takes as long as it takes."""


def test_every_answer_is_the_model_s_through_changes_of_the_definition(spark: SparkSession, tmp_path: Path) -> None:
    attack = Attack(spark, SEED, tmp_path / "lake")
    began = time.monotonic()
    attack.run(25, ends=lambda: time.monotonic() - began > BEGIN_STEPS_SECONDS)
    assert attack.tally.answers
    assert attack.tally.records
