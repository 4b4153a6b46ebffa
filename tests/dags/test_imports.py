"""What a parse of a DAG file imports: each task and each parse pays for it, beyond Airflow's own imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = {
    "pandas",
    "duckdb",
    "deltalake",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "great_expectations",
    "pyspark",
    "tenacity",
}
"""What tasks need that read tables, and no parse does."""
SCRIPT = """
import importlib.util, json, sys
import airflow.sdk, airflow.providers.apache.spark.operators.spark_submit, airflow.providers.amazon.aws.hooks.s3
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("dag_file", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("file", sorted(path.name for path in DAGS.glob("*.py")))
def test_a_parse_imports_nothing_that_reads_tables(file: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(DAGS / file)]
    imported = set(
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    )
    assert "tidemark.definition" in imported
    assert imported & HEAVY == set()
