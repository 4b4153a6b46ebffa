"""What several tests of the lake begin with."""

import pytest
from sample_pipeline import make_pipeline

from tidemark.definition import Pipeline


@pytest.fixture
def pipeline() -> Pipeline:
    return make_pipeline()
