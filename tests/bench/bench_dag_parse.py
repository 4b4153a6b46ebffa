"""What a parse of the DAG file costs by the number of pipelines, against Airflow's own imports of the same run.

    python tests/bench/bench_dag_parse.py

Each parse is a process of its own, as in Airflow's DAG processor without anything imported ahead. ``all``: every DAG,
as the DAG processor makes them. ``one``: as a worker parses the file to run one task, for which it makes one DAG.
Processor seconds, beyond those of the baseline; the ratio is to the baseline.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).resolve().parents[2]
OWN = (
    "import airflow.sdk, airflow.providers.apache.spark.operators.spark_submit, airflow.providers.amazon.aws.hooks.s3\n"
)
PARSE = (
    OWN
    + """
import importlib.util, sys
from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager
with _airflow_parsing_context_manager(*(sys.argv[2:] or (None, None))):
    spec = importlib.util.spec_from_file_location("dag_file", sys.argv[1])
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""
)


def seconds(program: str, definitions: Path, *arguments: str) -> float:
    """Processor seconds of a program in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "TIDEMARK_PIPELINES_DIR": str(definitions), "TIDEMARK_SAMPLE_PIPELINES": "false"},
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def define(folder: Path, count: int) -> Path:
    """So many pipelines, each in a file of its own."""
    folder.mkdir()
    source = (PROJECT / "include/tidemark/pipelines/clickstream.py").read_text()
    for n in range(count):
        text = source.replace('"clickstream"', f'"events_{n}"').replace("clickstream = ", f"events_{n} = ")
        (folder / f"events_{n}.py").write_text(text)
    return folder


def main(
    pipelines: Annotated[str, typer.Option(help="Numbers of pipelines.")] = "1,10,50",
    rounds: Annotated[int, typer.Option(help="Parses of each kind.", min=1)] = 5,
) -> None:
    """Print the medians."""
    table = Table(title="A parse of the DAG file, processor seconds", title_justify="left")
    for column in ("pipelines", "Airflow's imports", "all, beyond them", "ratio", "one, beyond them", "ratio"):
        table.add_column(column, justify="right")
    file = str(PROJECT / "dags" / "tidemark_dags.py")
    with tempfile.TemporaryDirectory(prefix="bench-parse-") as scratch:
        for count in map(int, pipelines.split(",")):
            folder = define(Path(scratch) / str(count), count)
            taken = [
                (
                    seconds(OWN, folder),
                    seconds(PARSE, folder, file),
                    seconds(PARSE, folder, file, f"events_{count - 1}.reprocess", "plan"),
                )
                for _ in range(rounds)
            ]
            own, every, one = (statistics.median(kind) for kind in zip(*taken, strict=True))
            shares = (f"{value:.2f}" for value in (own, every - own, every / own, one - own, one / own))
            table.add_row(str(count), *shares)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
