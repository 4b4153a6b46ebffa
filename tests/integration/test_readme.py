"""The README says what is true: its commands run, its definition is the one that ships, its links lead somewhere."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tidemark.core.settings import Settings, get_settings
from tidemark.definition import Count, KinesisStream, Pipeline, Quantile, Rollup, Sum, Window
from tidemark.definition.measures import ApproxDistinct
from tidemark.pipelines.clickstream import clickstream

PROJECT = Settings().project_dir
README = (PROJECT / "README.md").read_text()


def block(language: str) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return str(code)


def test_the_commands_run_one_after_the_other(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    script = block("sh").replace("4567", str(port)).replace(". .venv/bin/activate\n", "")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TIDEMARK_HOME": str(tmp_path),
        "TIDEMARK_JARS_DIR": str(get_settings().jars_dir),
        "COLUMNS": "160",
    }
    # Job control, for %1; and -e, so that the first command that fails ends it.
    done = subprocess.run(
        ["bash", "-e", "-m", "-c", script],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "10,000 records" in done.stdout
    assert "window_start" in done.stdout
    assert "unparseable_json" in done.stdout


def test_the_definition_is_the_one_that_ships() -> None:
    names = {
        "Pipeline": Pipeline, "KinesisStream": KinesisStream, "Rollup": Rollup, "Window": Window, "Count": Count,
        "Sum": Sum, "ApproxDistinct": ApproxDistinct, "Quantile": Quantile,
    }  # fmt: skip
    exec(block("python"), names)
    # The README leaves out what only the sample needs.
    assert names["clickstream"] == replace(clickstream, description="", sample=None)


def test_targets_and_links_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w[\w-]*)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (PROJECT / link).exists(), link
    for path in re.findall(r"`((?:tests|spark|include|dags|docs)/[\w./]+)`", README):
        assert (PROJECT / path).exists(), path
