"""The pipelines: those that ship, one file each beside this one, and those of a folder or package in the settings.

To add one, add a file that holds a ``Pipeline``, and a suite in expectations/, of the project or of that place.
"""

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from tidemark.core.errors import DefinitionError
from tidemark.core.settings import get_settings
from tidemark.definition import Pipeline


def load_pipelines() -> dict[str, Pipeline]:
    """All pipelines by name, sorted.

    Raises:
        DefinitionError: a definition is wrong, two pipelines have one name, or a place that the settings name is
            missing or holds no pipeline; the message names the files or the setting.
    """
    settings = get_settings()
    return dict(_load(settings.pipelines_dir, settings.pipelines_package, settings.sample_pipelines))


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
def _load(folder: Path | None, package: str | None, samples: bool) -> tuple[tuple[str, Pipeline], ...]:
    found = list(_shipped()) if samples else []
    if folder is not None:
        found += _holding_some(_of_folder(folder), f"pipelines folder {folder}", "TIDEMARK_PIPELINES_DIR")
    if package is not None:
        found += _holding_some(_of_package(package), f"pipelines package {package}", "TIDEMARK_PIPELINES_PACKAGE")
    if not found:
        raise DefinitionError(
            "there is no pipeline",
            ["set TIDEMARK_PIPELINES_DIR or TIDEMARK_PIPELINES_PACKAGE, or unset TIDEMARK_SAMPLE_PIPELINES"],
        )
    return tuple(sorted(collect(iter(found)).items()))


def _holding_some(modules: Iterable[ModuleType], place: str, setting: str) -> list[ModuleType]:
    found = list(modules)
    if not any(True for module in found for _ in _pipelines_in(vars(module).values())):
        raise DefinitionError(
            place, [f"holds no pipeline: add a file with a Pipeline to it, or correct or unset {setting}"]
        )
    return found


def collect(modules: Iterator[ModuleType]) -> dict[str, Pipeline]:
    """Pipelines of some modules by name; raises DefinitionError where two share a name or a stream."""
    found: dict[str, tuple[Pipeline, str]] = {}
    for module in modules:
        for pipeline in _pipelines_in(vars(module).values()):
            file = getattr(module, "__file__", None) or module.__name__
            if pipeline.name in found and found[pipeline.name][0] is not pipeline:
                raise DefinitionError(
                    f"pipeline {pipeline.name!r}",
                    [f"is defined twice, in {found[pipeline.name][1]} and {file}: rename one"],
                )
            found[pipeline.name] = (pipeline, file)
    return {name: pipeline for name, (pipeline, _) in found.items()}


def _pipelines_in(values: Iterable[object]) -> Iterator[Pipeline]:
    """Pipelines among a module's values, also those in a list, a tuple, a set or a dictionary."""
    for value in list(values):
        if isinstance(value, Pipeline):
            yield value
        elif isinstance(value, list | tuple | set | frozenset):
            yield from (one for one in value if isinstance(one, Pipeline))
        elif isinstance(value, Mapping):
            yield from (one for one in value.values() if isinstance(one, Pipeline))


def _shipped() -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(__path__):
        if info.ispkg:  # the producers of their sample events
            continue
        with _definition_errors(info.name):
            module = importlib.import_module(f"tidemark.pipelines.{info.name}")
        yield module


def _of_package(name: str) -> Iterator[ModuleType]:
    """A package and all modules in it; a single module, too."""
    place = f"pipelines package {name}"
    try:
        missing = importlib.util.find_spec(name) is None
    except (ModuleNotFoundError, ValueError):  # a parent is missing, or it is not a name
        missing = True
    if missing:
        raise DefinitionError(place, ["cannot be imported: install it, or correct or unset TIDEMARK_PIPELINES_PACKAGE"])
    with _definition_errors(place):
        package = importlib.import_module(name)
    yield package
    for info in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
        with _definition_errors(info.name):
            module = importlib.import_module(info.name)
        yield module


def _of_folder(extra: Path) -> Iterator[ModuleType]:
    if not extra.is_dir():
        raise DefinitionError(
            f"pipelines folder {extra}", ["is not there: make it, or correct or unset TIDEMARK_PIPELINES_DIR"]
        )
    # Modules beside the definitions are imported by their own names, as beside a script; behind everything else, so
    # that none hides a library.
    if (folder := str(extra.resolve())) not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
    for path in sorted(extra.glob("*.py")):
        name = f"tidemark_user_pipelines.{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise DefinitionError(str(path), ["cannot be imported"])
        module = importlib.util.module_from_spec(spec)
        # As the import system does: dataclasses look their module up by its name.
        sys.modules[name] = module
        try:
            with _definition_errors(str(path)):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        yield module


@contextmanager
def _definition_errors(file: str) -> Iterator[None]:
    """Say what is wrong with a window, a duration or a field in the same way as with a whole definition."""
    try:
        yield
    except ValidationError as error:
        raise DefinitionError(file, [str(e["msg"]).removeprefix("Value error, ") for e in error.errors()]) from error
    except DefinitionError:
        raise
    except SyntaxError as error:
        raise DefinitionError(f"{error.filename or file}, line {error.lineno}", [f"{error.msg}"]) from error
    except Exception as error:
        place = _place(error, file)
        raise DefinitionError(place, [f"{type(error).__name__}: {' '.join(str(error).split())}"]) from error


def _place(error: Exception, file: str) -> str:
    """File and line of the newest frame in the folder of a definition: not in a library that it calls."""
    folder = str(Path(file).resolve().parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(file).suffix and str(Path(frame.filename).resolve().parent) == folder
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else file
