"""Finds the pipelines: in every module of ``tidemark.pipelines``, and in any folder named in settings."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

import tidemark.pipelines
from tidemark.definition import Pipeline
from tidemark.errors import DefinitionError
from tidemark.settings import get_settings


def load_pipelines() -> dict[str, Pipeline]:
    """All pipelines by name, sorted.

    Raises:
        DefinitionError: a definition is wrong, or two pipelines have one name; the message names the files.
    """
    return dict(_load(get_settings().pipelines_dir))


def get_pipeline(name: str) -> Pipeline:
    """The pipeline of that name.

    Raises:
        DefinitionError: there is none; the message lists those that exist.
    """
    pipelines = load_pipelines()
    if name not in pipelines:
        raise DefinitionError(f"pipeline {name!r}", [f"there is no such pipeline; known are {', '.join(pipelines)}"])
    return pipelines[name]


@lru_cache(maxsize=4)
def _load(extra: Path | None) -> tuple[tuple[str, Pipeline], ...]:
    return tuple(sorted(collect(_modules(extra)).items()))


def collect(modules: Iterator[ModuleType]) -> dict[str, Pipeline]:
    """Pipelines of some modules by name; raises DefinitionError where two share a name or a stream."""
    found: dict[str, tuple[Pipeline, str]] = {}
    for module in modules:
        for pipeline in vars(module).values():
            if not isinstance(pipeline, Pipeline):
                continue
            file = getattr(module, "__file__", None) or module.__name__
            if pipeline.name in found and found[pipeline.name][0] is not pipeline:
                raise DefinitionError(
                    f"pipeline {pipeline.name!r}",
                    [f"is defined twice, in {found[pipeline.name][1]} and {file}: rename one"],
                )
            found[pipeline.name] = (pipeline, file)
    return {name: pipeline for name, (pipeline, _) in found.items()}


def _modules(extra: Path | None) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(tidemark.pipelines.__path__):
        with _definition_errors(info.name):
            module = importlib.import_module(f"tidemark.pipelines.{info.name}")
        yield module
    if extra is None:
        return
    for path in sorted(extra.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"tidemark_user_pipelines.{path.stem}", path)
        if spec is None or spec.loader is None:
            raise DefinitionError(str(path), ["cannot be imported"])
        module = importlib.util.module_from_spec(spec)
        with _definition_errors(str(path)):
            spec.loader.exec_module(module)
        yield module


@contextmanager
def _definition_errors(file: str) -> Iterator[None]:
    """Say what is wrong with a window, a duration or a field in the same way as with a whole definition."""
    try:
        yield
    except ValidationError as error:
        raise DefinitionError(file, [str(e["msg"]).removeprefix("Value error, ") for e in error.errors()]) from error
