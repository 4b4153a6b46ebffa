"""Makes the site of the repository's own pages, which are written to be read in the repository.

Pages outside docs/ get a place in the site, links to files of code lead to pages that show them, diagrams are drawn,
and the decisions are listed. The sources stay as they are.
"""

import posixpath
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import mermaidx
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "packages/pyspark-kinesis/README.md": "kinesis/pyspark-kinesis.md",
    "packages/kinesis-emulator/README.md": "kinesis/kinesis-emulator.md",
}
"""By file of the repository outside docs/, its place in the site."""
DECISIONS = "adr/README.md"
SOURCE = "source"
"""Where in the site the files of code are that pages link to."""

_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^(```+).*?^\1`*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)(?=[)#])")
_LANGUAGES = {".py": "python", ".sh": "sh", ".yml": "yaml", ".toml": "toml", ".json": "json"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the decisions to the navigation, in order."""
    pages = [DECISIONS, *(f"adr/{path.name}" for path in _decisions())]
    config.nav = [*(config.nav or []), {"Decisions": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for path, place in MOVED.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    titles = [(path.name, path.read_text().partition("\n")[0].removeprefix("# ")) for path in _decisions()]
    listed = "".join(f"- [{title}]({name})\n" for name, title in titles)
    files.append(File.generated(config, DECISIONS, content=f"# Decisions\n\nWhy things are as they are.\n\n{listed}"))
    for path in sorted(_linked_code(files)):
        language = _LANGUAGES.get(Path(path).suffix, "text")
        text = (ROOT / path).read_text()
        page = f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n`````{language}\n{text}\n`````\n"
        files.append(File.generated(config, f"{SOURCE}/{path}.md", content=page))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Draw diagrams, and let links lead to where their files are in the site; what is not in it, mkdocs reports."""
    here = page.file.src_uri
    folder = posixpath.dirname(here)

    def drawn(diagram: re.Match[str]) -> str:
        place = f"diagrams/{sha256(diagram[1].encode()).hexdigest()[:12]}.svg"
        files.append(File.generated(config, place, content=mermaidx.render(diagram[1]).svg()))
        link = posixpath.relpath(place, folder)
        return f'<div class="diagram"><a href="{link}"><img alt="Diagram, described below" src="{link}"></a></div>'

    def moved(link: re.Match[str]) -> str:
        target = _place_of(_target(_repository_path(here), link[1]), files)
        return link[1] if target is None else posixpath.relpath(target, folder)

    return _outside_of_code(_DIAGRAM.sub(drawn, markdown), moved)


def _decisions() -> list[Path]:
    return sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))


def _repository_path(place: str) -> str:
    """The file of the repository that a page of the site is made of."""
    return next((path for path, moved in MOVED.items() if moved == place), f"docs/{place}")


def _target(path: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _place_of(path: str, files: Files) -> str | None:
    """Where a file or folder of the repository is in the site; None if it is not."""
    places = [MOVED.get(path), f"{SOURCE}/{path}.md"]
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        places += [f"{inside}/README.md", inside]
    return next((place for place in places if place and files.get_file_from_path(place)), None)


def _linked_code(files: Files) -> set[str]:
    """The files of code that pages link to."""
    paths = [_repository_path(page.src_uri) for page in files.documentation_pages() if page.src_uri != DECISIONS]
    texts = [(path, _FENCE.sub("", (ROOT / path).read_text())) for path in paths]
    linked = {_target(path, link[1]) for path, text in texts for link in _LINK.finditer(text)}
    return {path for path in linked if not path.startswith("docs/") and path not in MOVED and (ROOT / path).is_file()}


def _outside_of_code(markdown: str, replace: Callable[[re.Match[str]], str]) -> str:
    """Markdown with each link's target replaced, except in fenced code."""
    parts, at = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(replace, markdown[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, _LINK.sub(replace, markdown[at:])])
