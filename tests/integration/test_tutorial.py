"""The tutorial does what it says: its files are written and its commands run, in their order, by a shell."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tidemark.core.settings import Settings, get_settings

PROJECT = Settings().project_dir
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILES = {"python": "thermometers.py", "json": "thermometers.json", "jsonl": "readings.jsonl"}


def script(page: str) -> str:
    """The page as a shell script: a file that a reader is to save is written where it stands."""
    steps = ["mkdir my_pipelines"]
    for language, text in BLOCK.findall(page):
        if language in FILES:
            steps.append(f"cat > my_pipelines/{FILES[language]} <<'END OF FILE'\n{text}END OF FILE")
        else:
            steps.append(text)
    return "\n".join(steps)


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # The reader works in the checkout; what is saved there is saved here.
    for name in ("spark", "dags", "expectations"):
        (tmp_path / name).symlink_to(PROJECT / name)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TIDEMARK_PROJECT_DIR": str(tmp_path),
        "TIDEMARK_HOME": str(tmp_path / "home"),
        "TIDEMARK_JARS_DIR": str(get_settings().jars_dir),
        "COLUMNS": "160",
    }
    commands = script((PROJECT / "docs" / "tutorial.md").read_text()).replace("4567", str(port))
    done = subprocess.run(
        ["bash", "-e", "-m", "-c", commands],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    shown = done.stdout
    assert "6 records" in shown
    assert "expectation:expect_column_values_to_be_between(celsius)" in shown
    assert "unparseable_json" in shown
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in shown.splitlines() if line.startswith("│")]
    kitchen, oven = ([row for row in rows if row[0] == room] for room in ("kitchen", "oven"))
    assert [row[-2:] for row in kitchen] == [["2", "21.000"], ["2", "21.000"], ["21.000", "21.500"]], shown
    assert [row[-2:] for row in oven] == [["1", "180.000"], ["180.000", "180.000"]], "it is there from the replay on"
