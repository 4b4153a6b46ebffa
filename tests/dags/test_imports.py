"""What a parse of the DAG files imports: each task and each parse pays for it, beyond Airflow's own imports."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

from tidemark.airflow.ui.preload import MODULES

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = {"pandas", "duckdb", "deltalake", "pyarrow.dataset", "pyarrow.parquet", "great_expectations", "pyspark"}
"""What tasks need that read tables, and no parse does."""
SCRIPT = """
import importlib.util, json, sys
import airflow.sdk, airflow.providers.apache.spark.operators.spark_submit, airflow.providers.amazon.aws.hooks.s3
before = set(sys.modules)
for file in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("dag_file", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_a_parse_imports_nothing_that_reads_tables() -> None:
    command = [sys.executable, "-c", SCRIPT, *map(str, DAGS.glob("*.py"))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    imported = set(json.loads(printed.splitlines()[-1]))
    assert "tidemark.definition" in imported
    assert imported & HEAVY == set()


def test_what_airflow_s_services_import_ahead_is_there() -> None:
    for name in MODULES:
        importlib.import_module(name)
