"""The bundle that a cluster runs: code, definitions, suites, jobs and jars, with a manifest.

Made of what is here and nothing else: the same input, and the same minor version of Python, give the same bytes. A
bundle is a folder:

- ``tidemark.zip``: what driver and executors import (``--py-files``), with all definitions, and the suites;
- ``jobs/``: the spark-submit entries; ``jars/``: Delta for the Spark that the bundle is for;
- ``requirements.txt``: the packages that the code needs on this Python, of the lock, with hashes, or, where Tidemark is
  installed without a checkout, as they are installed here; Spark itself is the cluster's;
- ``environment.tar.gz``, if given: a packed virtual environment with them (``spark.archives``);
- ``manifest.json``: versions, and each file's size and SHA-256.
"""

import hashlib
import importlib.util
import json
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from packaging.utils import canonicalize_name

from tidemark.core.errors import DefinitionError, PreconditionError
from tidemark.core.extras import MissingExtraError
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import BUNDLE_CODE, BUNDLE_ENVIRONMENT
from tidemark.core.spark_start.requirements import imports, installed, locked, needed
from tidemark.definition import Pipeline
from tidemark.pipelines import load_pipelines
from tidemark.quality import load_suite

MANIFEST = "manifest.json"
PACKAGES = ("tidemark", "tidemark_spark", "pyspark_kinesis")
LEFT_OUT = ("airflow", "cli", "embedded", "pipelines/producers", "project")
"""Parts of ``tidemark`` that no job needs."""
HERE_ONLY = ("rehearse",)
"""Jobs for the machine that they are installed on."""
PROVIDED = ("pyspark", "pyspark-client", "py4j", "delta-spark")
"""What a cluster brings itself, or gets as a jar."""
PYTHON = "{}.{}".format(*sys.version_info)
"""The Python that a bundle is for: the one that makes it. A driver and its executors must have the same, too."""
_PYTHON_FOLDER = re.compile(r"lib/python(3\.\d+)/site-packages/")
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Part(NamedTuple):
    """One file of a bundle."""

    name: str
    bytes: int
    sha256: str


class Bundle(NamedTuple):
    """What was made."""

    folder: Path
    parts: list[Part]
    code: list[str]
    """Names in the zip of the code."""


def make_bundle(folder: Path, jars: list[Path], spark: str, settings: Settings, environment: Path | None) -> Bundle:
    """Make a bundle for a version of Spark (``4.2``); an older one in the folder is replaced once the new one is whole.

    Raises:
        DefinitionError, ExpectationError: a definition or a suite is wrong, or cannot be shipped.
        PreconditionError: the code needs a package that the lock or the environment lacks, or the folder is another's.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise PreconditionError(f"{folder} holds something else than a bundle: choose another folder with --output")
    code = _code(settings)
    jobs = sorted(job for job in _place("spark/jobs", settings).glob("*.py") if job.stem not in HERE_ONLY)
    sources = {name: text.decode() for name, text in code.items() if name.endswith(".py")}
    sources |= {f"jobs/{job.name}": job.read_text() for job in jobs}
    _check_imports(sources)
    own = [settings.pipelines_package.partition(".")[0]] if settings.pipelines_package else []
    names = needed(sources, (*PACKAGES, *own), PROVIDED)
    lock = settings.project_dir / "requirements.txt"
    pins = locked(names, lock.read_text()) if lock.exists() else installed(names)
    if environment is not None:
        check_environment(environment, pins)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        (new / "jobs").mkdir(parents=True)
        (new / "jars").mkdir()
        _write_zip(new / BUNDLE_CODE, code)
        for source, place in [*((job, "jobs") for job in jobs), *((jar, "jars") for jar in jars)]:
            shutil.copyfile(source, new / place / source.name)
        (new / "requirements.txt").write_text(pins)
        if environment is not None:
            shutil.copyfile(environment, new / BUNDLE_ENVIRONMENT)
        parts = [_part(new, path) for path in sorted(new.rglob("*")) if path.is_file()]
        versions = {"tidemark": version("tidemark"), "spark": spark, "python": PYTHON}
        manifest = {**versions, "pipelines": sorted(load_pipelines()), "files": {p.name: p._asdict() for p in parts}}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        new.rename(folder)
    return Bundle(folder, parts, sorted(code))


def check_environment(archive: Path, pins: str) -> None:
    """Raise PreconditionError if an archive is not a packed environment of this Python with what ``pins`` asks for."""
    try:
        with tarfile.open(archive) as packed:
            names = [PurePosixPath(name) for name in packed.getnames()]
    except (OSError, tarfile.TarError) as error:
        raise PreconditionError(f"--environment {archive}: {error}: pack a virtual environment as .tar.gz") from error
    if PurePosixPath("bin/python") not in names:
        raise PreconditionError(
            f"--environment {archive} has no bin/python at its root: pack a virtual environment with venv-pack"
        )
    pythons = {match[1] for name in names if (match := _PYTHON_FOLDER.match(str(name)))}
    if pythons and PYTHON not in pythons:
        raise PreconditionError(
            f"--environment {archive} has Python {max(pythons)}, and a bundle is for the Python that makes it, here "
            f"{PYTHON}: pack an environment of {PYTHON}, or run `make setup PYTHON=python{max(pythons)}` first"
        )
    folders = {part for name in names for part in name.parts if part.endswith(".dist-info")}
    have = {_pin(folder.removesuffix(".dist-info"), "-") for folder in folders}
    wanted = {_pin(line.split()[0], "==") for line in pins.splitlines() if "==" in line}
    if missing := sorted(f"{name}=={number}" for name, number in wanted - have):
        raise PreconditionError(
            f"--environment {archive} lacks {', '.join(missing)}: install the requirements.txt of a bundle into it, "
            "then pack it again"
        )


def _pin(text: str, separator: str) -> tuple[str, str]:
    name, _, number = text.partition(separator)
    return canonicalize_name(name), number


def _code(settings: Settings) -> dict[str, bytes]:
    """Names in the zip, and what is in them."""
    found: dict[str, bytes] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingExtraError(package)
        root = Path(spec.origin).parent
        for path in root.rglob("*.py"):
            inside = path.relative_to(root)
            if inside.parts[0] == "pipelines" and path.name != "__init__.py" and not settings.sample_pipelines:
                continue
            if package != "tidemark" or not any(inside.is_relative_to(part) for part in LEFT_OUT):
                found[f"{package}/{inside.as_posix()}"] = path.read_bytes()
    for path in sorted(settings.pipelines_dir.glob("*.py")) if settings.pipelines_dir else ():
        name = f"tidemark/pipelines/{path.name}"
        if name in found:
            raise DefinitionError(str(path), [f"Tidemark has a file of that name ({name}): rename it"])
        found[name] = path.read_bytes()
    if settings.pipelines_package:
        found |= _package(settings.pipelines_package)
    for pipeline in load_pipelines().values():
        load_suite(pipeline, settings)
        found[_suite_name(pipeline, settings)] = _place(pipeline.suite, settings).read_bytes()
    return found


def _place(name: str, settings: Settings) -> Path:
    """A file or folder of the project; a bundle is not made from a bundle."""
    return Path(str(settings.project_file(name)))


def _package(name: str) -> dict[str, bytes]:
    """The modules of a package of definitions and the packages that it is in, by their names in the zip.

    A job finds it there by its own name, which its environment says (``TIDEMARK_PIPELINES_PACKAGE``).
    """
    found: dict[str, bytes] = {}
    parents = name.split(".")
    for depth in range(1, len(parents) + 1):
        spec = importlib.util.find_spec(".".join(parents[:depth]))
        place = "/".join(parents[:depth])
        if spec is not None and spec.origin is not None:
            inside = spec.submodule_search_locations is not None
            found[f"{place}/__init__.py" if inside else f"{place}.py"] = Path(spec.origin).read_bytes()
        if depth == len(parents):
            for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
                found |= {
                    f"{place}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in folder.rglob("*.py")
                }
    return found


def _suite_name(pipeline: Pipeline, settings: Settings) -> str:
    name = PurePosixPath(pipeline.suite)
    if name.is_absolute() or ".." in name.parts:
        raise DefinitionError(
            f"pipeline {pipeline.name!r}",
            [f"its suite {name} is outside of {settings.project_dir}: move it there, and name it from there"],
        )
    return name.as_posix()


def _check_imports(sources: dict[str, str]) -> None:
    absent = tuple(f"tidemark.{part.replace('/', '.')}" for part in LEFT_OUT)
    for file, source in sources.items():
        if wrong := sorted(name for name in imports(source) if name.startswith(absent)):
            raise DefinitionError(file, [f"imports {', '.join(wrong)}, which no job has on a cluster"])


def _write_zip(path: Path, content: dict[str, bytes]) -> None:
    # Stored, with one date and sorted: the bytes follow from the content alone, whatever the machine's zlib.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[name])


def _part(root: Path, path: Path) -> Part:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(path.relative_to(root).as_posix(), path.stat().st_size, digest)
