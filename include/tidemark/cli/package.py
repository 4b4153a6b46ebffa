"""The command that makes the bundle for a cluster."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as RichTable

from tidemark.core.settings import get_settings
from tidemark.core.terminal import plain_console


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(package)


def package(
    output: Annotated[Path | None, typer.Option(help="Folder of the bundle (default: .tidemark/bundle).")] = None,
    spark: Annotated[str, typer.Option(help="The cluster's version of Spark: 4.2, or 4.1 on EMR Serverless.")] = "4.2",
    environment: Annotated[
        Path | None,
        typer.Option(help="A packed virtual environment (.tar.gz) to go with it, made on the cluster's OS."),
    ] = None,
) -> None:
    """Bundle code, definitions, suites, jobs and Delta's jars for a cluster (TIDEMARK_SPARK_BUNDLE)."""
    from tidemark.cli.bundle import make_bundle
    from tidemark.core.spark_start.jars import ensure_jars

    settings, console = get_settings(), plain_console()
    jars = ensure_jars(settings, plain_console(stderr=True).print, spark)
    made = make_bundle(output or settings.home / "bundle", jars, spark, settings, environment)
    table = RichTable(
        "file", "bytes", "SHA-256", title=f"bundle for Spark {spark}: {made.folder}", title_justify="left"
    )
    for part in made.parts:
        table.add_row(part.name, f"{part.bytes:,}", part.sha256[:16])
    console.print(table)
    code = RichTable("in tidemark.zip", "files", title_justify="left")
    roots = [name.partition("/")[0] for name in made.code]
    for root in dict.fromkeys(roots):
        code.add_row(root, str(roots.count(root)))
    console.print(code)
