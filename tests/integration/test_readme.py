"""The README says what is true: its commands run, its definition is the one that ships, its links lead somewhere."""

import re
from dataclasses import replace

from tidemark.core.settings import Settings
from tidemark.definition import Count, KinesisStream, Pipeline, Quantile, Rollup, Sum, Window
from tidemark.definition.measures import ApproxDistinct
from tidemark.pipelines.clickstream import clickstream

PROJECT = Settings().project_dir
README = (PROJECT / "README.md").read_text()


def block(language: str) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return str(code)


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
