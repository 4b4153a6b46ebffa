"""Commands about the embedded platform: ``up``, ``down`` and ``env``, and the part of ``status`` that shows it."""

import contextlib
import os
import shlex
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tidemark.core.errors import JobError, TidemarkError
from tidemark.core.extras import EMBEDDED, require
from tidemark.core.settings import Settings, get_settings
from tidemark.core.terminal import lasted, plain_console, printable
from tidemark.pipelines import get_pipeline, load_pipelines

if TYPE_CHECKING:
    from tidemark.embedded.record import PartRecord, Record

DOWN_SECONDS = 15.0
"""How long ``down`` waits for the platform to end by itself, which takes ten seconds at most."""
_COLOURS = {"ready": "green", "done": "green", "given up": "bold red", "restarting": "yellow", "starting": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for command in (up, down, env):
        app.command()(command)


def end_on_signals() -> None:
    """Have SIGTERM, and the end of the terminal, end this process as ^C does: in order."""
    # SIGINT, too: a shell without job control has the commands that it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def up(
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines whose streams run (default: all).", show_default=False)
    ] = None,
    streams: Annotated[bool, typer.Option(help="Run the streams.")] = True,
    kinesis_port: Annotated[int, typer.Option(help="Port of the Kinesis emulator.")] = 4567,
    airflow_port: Annotated[int, typer.Option(help="Port of Airflow.")] = 8080,
    paused: Annotated[bool, typer.Option(help="Pause new DAGs.")] = False,
) -> None:
    """Run the platform on this machine, to work with: Airflow with its schedules, PostgreSQL, Kinesis, the streams.

    It goes on until ^C or `tidemark down`, and the next `up` continues where it stopped: lake, state, stream and
    Airflow's database stay in TIDEMARK_HOME. A part that ends is started again. Kinesis is the emulator, unless
    TIDEMARK_KINESIS_ENDPOINT_URL names another (https://kinesis.eu-central-1.amazonaws.com, say). `tidemark env` prints
    what a second shell must set.
    """
    require(*EMBEDDED)
    from tidemark.embedded.platform import Platform, PlatformOptions, embedded_settings

    base = get_settings()
    names = pipelines or list(load_pipelines())
    chosen = tuple(get_pipeline(name) for name in names) if streams else ()
    options = PlatformOptions(
        pipelines=chosen,
        kinesis_port=None if base.kinesis_endpoint_url else kinesis_port,
        airflow_port=airflow_port,
        paused=paused,
    )
    if options.kinesis_port is not None:
        # The emulator takes any credentials; boto3 wants some.
        os.environ.setdefault("AWS_ACCESS_KEY_ID", "any")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "any")
    end_on_signals()
    console = plain_console()
    events: list[str] = []
    with Platform(embedded_settings(base, base.home.absolute(), options), options, events.append) as platform:
        for line in platform.claim(f"the platform in {base.home}"):
            console.print(f"ended what an earlier one left: {line}", soft_wrap=True, highlight=False)
        platform.start(console.print)
        _show_until_the_end(platform, console, events)


def _show_until_the_end(platform: Any, console: Console, events: list[str]) -> None:
    """Draw the parts until ^C; without a terminal, say each change in a line."""
    from rich.live import Live

    def picture() -> RenderableType:
        platform.write_record()
        notes = [Text(printable(line), style="dim") for line in events[-5:]]
        return Group(parts_table(platform.record.parts(), platform.settings), *addresses(platform.record), *notes)

    if console.is_terminal:
        with Live(picture(), console=console, auto_refresh=False) as live:
            while True:
                platform.check()
                live.update(picture(), refresh=True)
                time.sleep(1)
    said: dict[str, str] = {}
    told = 0
    while True:
        platform.check()
        for part in platform.supervisor.parts.values():
            if said.get(part.part.name) != part.state:
                said[part.part.name] = part.state
                console.print(f"{datetime.now(UTC):%H:%M:%S} {part.part.name}: {part.state}", highlight=False)
        for line in events[told:]:
            console.print(printable(line), highlight=False, soft_wrap=True)
        if told == 0 and platform.is_ready():
            platform.write_record()
            console.print(*addresses(platform.record), sep="\n")
            told = 1 if not events else told
        told = max(told, len(events))
        time.sleep(1)


def parts_table(parts: "list[PartRecord]", settings: Settings) -> RenderableType:
    """The parts of a platform and how they are."""
    table = RichTable(title="The platform", title_justify="left")
    for name in ("part", "state", "for", "restarts", "what it says"):
        table.add_column(name, overflow="fold", justify="right" if name in ("for", "restarts") else "left")
    for part in parts:
        state = Text(part.state, style=_COLOURS.get(part.state, ""))
        table.add_row(
            part.name,
            state,
            lasted(timedelta(seconds=time.time() - part.since)),
            str(part.restarts or ""),
            printable(_says(part, settings)),
        )
    return table


def addresses(record: "Record") -> list[Text]:
    """Where a running platform can be asked."""
    facts = record.facts()
    variables = facts.get("variables", {})
    lines = [
        ("Airflow", f"{facts.get('airflow')} (no login)"),
        ("Kinesis", variables.get("TIDEMARK_KINESIS_ENDPOINT_URL")),
    ]
    lines += [("Tables", variables.get("TIDEMARK_LAKE_URI")), ("Second shell", 'eval "$(tidemark env)"')]
    return [Text(f"{name + ':':14}{value}") for name, value in lines if value]


def _says(part: "PartRecord", settings: Settings) -> str:
    """Why it ended, as long as it is not back; of streams, what they did last."""
    from tidemark.core.stream_locks import running_streams

    if part.state not in ("ready", "done") and part.cause:
        return f"{part.cause} (log: {part.log})"
    pipeline, _, kind = part.name.rpartition("-")
    if kind != "streams":
        return ""
    said = []
    for stream, facts in running_streams(pipeline, settings).items():
        batch = f"batch {facts['batch']:,}" if "batch" in facts else "no batch yet"
        beat = facts.get("heartbeat")
        age = "" if beat is None else f", {lasted(datetime.now(UTC) - datetime.fromisoformat(beat))} ago"
        said.append(f"{stream}: {batch}{age}")
    return "; ".join(said)


def platform_record() -> "Record | None":
    """The record of the platform that runs in TIDEMARK_HOME; None if none does."""
    from tidemark.embedded.record import Record

    record = Record(get_settings().home)
    return record if record.holder() is not None and record.facts() else None


def down() -> None:
    """End the platform that runs in TIDEMARK_HOME, and what an earlier one may have left there."""
    from tidemark.embedded.record import Record

    console = plain_console(stderr=True)
    record = Record(get_settings().home)
    holder = record.holder()
    if holder is None:
        left = record.end_leftovers()
        if not left:
            raise TidemarkError(f"no platform runs in {get_settings().home}")
        for line in left:
            console.print(f"ended what an earlier one left: {line}", highlight=False, soft_wrap=True)
        record.close()
        return
    main = psutil.Process(int(holder["pid"]))
    said: list[str] | None = None

    def tell() -> None:
        nonlocal said
        living = [part.name for part in record.parts() if part.session is not None and psutil.pid_exists(part.session)]
        if living != said:
            said = living
            console.print(f"waiting for {', '.join(living) or 'the platform'} to end", highlight=False)

    # First, as it may have ended before there is time to look again.
    tell()
    main.terminate()
    deadline = time.monotonic() + DOWN_SECONDS
    while main.is_running() and record.holder() is not None:
        tell()
        if time.monotonic() > deadline:
            with contextlib.suppress(psutil.Error):
                main.kill()  # its guardian ends the rest
            raise JobError(f"the platform (process {main.pid}) did not end in {DOWN_SECONDS:g} s and was killed")
        time.sleep(0.2)
    console.print("the platform has ended")


def env() -> None:
    """Print what a second shell must set to use the platform: eval "$(tidemark env)".

    The commands `tidemark` and `airflow` work there then. No secret is among it. For the demo's platform, set
    TIDEMARK_HOME=.tidemark/demo first.
    """
    record = platform_record()
    if record is None:
        home = get_settings().home
        raise TidemarkError(
            f"no platform runs in {home}: start it with `tidemark up`, or name its folder in TIDEMARK_HOME"
        )
    for name, value in record.facts()["variables"].items():
        typer.echo(f"export {name}={shlex.quote(value)}")
