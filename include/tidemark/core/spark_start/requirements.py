"""Which packages of the lock some code needs: what it imports, and what that needs in turn by its own metadata."""

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tidemark.core.errors import PreconditionError

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==\S+")


def imports(source: str) -> set[str]:
    """The modules that a source file imports by their full names, wherever it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def needed(files: Mapping[str, str], own: Iterable[str], provided: Iterable[str]) -> set[str]:
    """Canonical names of the distributions that source files (text by name) need, without those that are ``provided``.

    ``own`` are the packages that the files make up.

    Raises:
        PreconditionError: a file imports what is not installed here; the message names both.
    """
    known, given = packages_distributions(), {canonicalize_name(name) for name in provided}
    waiting: set[tuple[str, str]] = set()
    for file, source in files.items():
        for top in {name.partition(".")[0] for name in imports(source)} - {*sys.stdlib_module_names, *own}:
            if top not in known:
                raise PreconditionError(
                    f"{file} imports {top}, which is not installed here: install it, or fix the import"
                )
            waiting |= {(canonicalize_name(name), "") for name in known[top]}
    found: set[tuple[str, str]] = set()
    while waiting:
        name, extra = one = waiting.pop()
        if name in given or one in found:
            continue
        found.add(one)
        waiting |= _required(name, extra)
    return {name for name, _ in found}


def locked(names: Iterable[str], lock: str) -> str:
    """The part of a lock (``requirements.txt`` with hashes) that pins some distributions.

    Raises:
        PreconditionError: the lock does not pin one of them; the message names it.
    """
    wanted, blocks = set(names), dict[str, str]()
    for block in re.split(r"\n(?=\S)", lock):
        if pin := _PIN.match(block):
            lines = [line for line in block.rstrip().splitlines() if not line.lstrip().startswith("#")]
            blocks[canonicalize_name(pin[1])] = "\n".join(lines)
    if missing := sorted(wanted - blocks.keys()):
        raise PreconditionError(
            f"requirements.txt does not pin {', '.join(missing)}, and a cluster would not have it: add it to the "
            "dependencies in pyproject.toml, and run `make lock`"
        )
    return "".join(f"{blocks[name]}\n" for name in sorted(wanted))


def installed(names: Iterable[str]) -> str:
    """The requirements that pin some distributions at the versions that are installed here, without hashes."""
    return "".join(f"{name}=={version(name)}\n" for name in sorted(names))


def _required(name: str, extra: str) -> set[tuple[str, str]]:
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:  # one for another platform, or an extra that nobody has asked for here
        return set()
    found: set[tuple[str, str]] = set()
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found |= {(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)}
    return found
