"""docker-compose.yml and its Dockerfile, as far as they can be checked without an engine."""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemark.core.spark_start.jars import DELTA_ARTIFACT, SPARK
from tidemark.pipelines import load_pipelines

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(re.findall(r"^([a-z0-9-]+)==([^ \\]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
LASTING = {name: service for name, service in SERVICES.items() if name not in ("init", "cli")}


def test_the_compose_file_keeps_to_the_compose_specification() -> None:
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_passes_its_linter() -> None:
    command = [Path(sys.executable).with_name("hadolint"), ROOT / "docker" / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", LASTING)
def test_a_service_is_watched_restarted_limited_and_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"].endswith("m")
    assert service.get("user", "as the image says") not in ("root", "0")
    assert "full" in service["profiles"]


def test_the_image_runs_as_nobody_of_importance() -> None:
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["10001:10001"]


@pytest.mark.parametrize("profile", ["core", "full"])
def test_all_memory_limits_together_fit_eight_gigabytes(profile: str) -> None:
    limits = [int(service["mem_limit"][:-1]) for service in LASTING.values() if profile in service["profiles"]]
    assert sum(limits) <= 8192


def test_the_workers_have_an_executor_left_for_each_batch_job_beside_all_streams() -> None:
    def cores(name: str) -> int:
        return int(json.loads(SERVICES[name]["environment"]["TIDEMARK_SPARK_CONF"])["spark.cores.max"])

    workers = [service["command"] for name, service in SERVICES.items() if name.startswith("spark-worker")]
    offered = sum(int(command[command.index("--cores") + 1]) for command in workers)
    streams = sum(cores(name) for name in SERVICES if name.startswith("stream-"))
    batch = int(SERVICES["airflow-scheduler"]["environment"]["TIDEMARK_SPARK_SLOTS"]) * cores("airflow-scheduler")
    assert streams + batch <= offered


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_needs_nothing_that_its_profiles_leave_out(name: str) -> None:
    service = SERVICES[name]
    for needed in service.get("depends_on", {}):
        assert set(service["profiles"]) <= set(SERVICES[needed]["profiles"]), needed


def test_every_pipeline_has_its_streams_and_no_other() -> None:
    streams = {name: service["command"] for name, service in SERVICES.items() if name.startswith("stream-")}
    assert streams == {f"stream-{name}": ["tidemark", "stream", name] for name in load_pipelines()}


def test_images_are_pinned_and_built_once() -> None:
    own = f"tidemark:${{TIDEMARK_VERSION:-{PROJECT['version']}}}"
    others = {name: service["image"] for name, service in SERVICES.items() if service["image"] != own}
    assert list(others) == ["postgres"]
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+", others["postgres"])
    assert [name for name, service in SERVICES.items() if "build" in service] == ["init"]
    assert len(list((ROOT / "docker").glob("*Dockerfile*"))) <= 2


def test_versions_have_one_source() -> None:
    """The lock holds those of packages, pyproject.toml Tidemark's own and Python's; nothing repeats them otherwise."""
    assert not re.search(r"==\s*\d", DOCKERFILE + COMPOSE), "packages come from requirements.txt"
    base = set(re.findall(r"python:(\S+?-slim-bookworm)", DOCKERFILE + COMPOSE + EXAMPLE))
    assert len(base) == 1, "the Dockerfile, the compose file and .env.example name one Python image"
    minor = base.pop().rpartition("-slim")[0].rpartition(".")[0]
    assert PROJECT["requires-python"].startswith(f">={minor},")
    assert DELTA_ARTIFACT[2] == LOCK["delta-spark"], "the jars and the Python package of Delta"
    assert LOCK["pyspark"].startswith(f"{SPARK}."), "the jars are those for this Spark"
    assert f"#TIDEMARK_VERSION={PROJECT['version']}\n" in EXAMPLE


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE))
    named = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert asked == set(named) - {"COMPOSE_PROFILES"}
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE))
    assert {name for name, value in named.items() if value == "" and f"\n{name}=" in EXAMPLE} == needed


def test_the_secrets_that_are_made_up_differ_and_suit_airflow() -> None:
    done = subprocess.run([ROOT / "scripts" / "env.sh"], input=EXAMPLE, capture_output=True, text=True, check=True)
    made = dict(line.split("=", 1) for line in done.stdout.splitlines() if re.match(r"[A-Z_]+=", line))
    assert made.pop("COMPOSE_PROFILES") == "full"
    assert re.fullmatch(r"[\w-]{43}=", made["AIRFLOW_FERNET_KEY"])
    assert all(len(value) >= 44 for value in made.values())
    assert Counter(made.values()).most_common(1)[0][1] == 1


def test_the_readme_draws_the_services_that_there_are() -> None:
    picture = re.search(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert picture is not None
    drawn = set(re.findall(r"([a-z0-9-]+)[\[(]", picture[1]))
    assert drawn == {*LASTING, "producers", "tables", "cli"}
