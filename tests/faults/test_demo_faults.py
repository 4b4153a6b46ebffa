"""The demo survives the death of each of its parts; many more seeds run by `make faults-demo`."""

import pytest
from demo_faults import attack

from tidemark.core.settings import get_settings
from tidemark.core.spark_start.jars import ensure_jars


@pytest.mark.parametrize("seed", [0, 1])
def test_the_demo_ends_with_its_proof_though_each_part_is_killed_once(seed: int) -> None:
    ensure_jars(get_settings(), print)
    assert attack(seed, records=10_000).wrong == []
