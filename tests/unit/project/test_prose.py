"""What people read is in plain English: phrases that read as translated, each with what to write instead."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PHRASES = {
    r"\b(?<!there )(is|was) no (?!longer|more|less|later|earlier|other|one|way|need|subscription)\w+": "is not a",
    r"\bunless stated\b": "by default",
    r"\bfor good\b": "permanently",
    r"\beach once\b": "exactly once",
    r"\bnor no\b": "neither … nor",
    r"\bthat there are\b": "existing",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bthereof|whence|thereby|wherein\b": "a plain word",
}
FILES = [
    *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
    *ROOT.glob("packages/*/README.md"),
    *(ROOT / "dags").glob("*.py"), *(ROOT / "include").rglob("*.py"), *(ROOT / "spark").rglob("*.py"),
]  # fmt: skip


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """What a reader sees of a file, with its line: all of a page; of code its docstrings, messages and comments."""
    lines = file.read_text().splitlines()
    if file.suffix == ".md":
        yield 1, "\n".join(lines)
        return
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    yield from ((n, line.partition("#")[2]) for n, line in enumerate(lines, 1) if line.lstrip().startswith("#"))


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_phrase_reads_as_translated(phrase: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line + text.count(chr(10), 0, hit.start())}: {hit[0]!r}: write {PHRASES[phrase]!r}"
        for file in FILES
        for line, text in texts(file)
        for hit in re.finditer(phrase, text, flags=re.IGNORECASE)
    ]
    assert found == []
