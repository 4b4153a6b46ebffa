"""``kinesis-emulator``: runs the emulator until it is told to stop."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from kinesis_emulator.api import Options, operations_text
from kinesis_emulator.service.clock import MAX_OFFSET_SECONDS
from kinesis_emulator.state.journal import DataFolderError
from kinesis_emulator.wire.certificates import CertificateError, made_tls_context, tls_context
from kinesis_emulator.wire.endpoint import Endpoint
from kinesis_emulator.wire.listener import serve as serve_endpoint

# The groups of --help.
_WHERE, _TLS, _ACCESS, _LIMITS, _TIMES = "Where", "TLS", "Access", "Limits", "Times"


def _in(panel: str, help_text: str, *names: str, metavar: str | None = "N", **more: Any) -> Any:
    return typer.Option(*names, help=help_text, metavar=metavar, rich_help_panel=panel, **more)


def _not_negative(value: float) -> float:
    # Not as ``min``: --help would show a range beside each.
    if not value >= 0:
        raise typer.BadParameter(f"{value} is below 0, or no number; give 0 or more")
    return value


def _possible_offset(seconds: float) -> float:
    if not abs(seconds) <= MAX_OFFSET_SECONDS:
        raise typer.BadParameter(f"{seconds} is more than {MAX_OFFSET_SECONDS} either way; give less")
    return seconds


def serve(
    port: Annotated[int, _in(_WHERE, "Port to listen on; 0: any free one.")] = 4567,
    host: Annotated[str, _in(_WHERE, "Address to bind to.", metavar="ADDRESS")] = "127.0.0.1",
    data_dir: Annotated[
        Path | None, _in(_WHERE, "Keep streams and records in this folder; without it, in memory.", metavar="FOLDER")
    ] = None,
    region: Annotated[str, _in(_WHERE, "Region in stream ARNs.", metavar="NAME")] = "us-east-1",
    tls: Annotated[
        bool, _in(_TLS, "Speak TLS, with a certificate made at start that signs itself.", "--tls", metavar="")
    ] = False,
    tls_cert: Annotated[
        Path | None, _in(_TLS, "Speak TLS, with the certificate in this PEM file.", metavar="FILE")
    ] = None,
    tls_key: Annotated[Path | None, _in(_TLS, "PEM file with the key of --tls-cert.", metavar="FILE")] = None,
    access_key: Annotated[
        str | None, _in(_ACCESS, "Refuse requests signed with another access key id.", metavar="ID")
    ] = None,
    secret_key: Annotated[
        str | None, _in(_ACCESS, "With --access-key: check signatures, too.", metavar="SECRET")
    ] = None,
    limits: Annotated[bool, _in(_LIMITS, "Enforce the limits that a real shard has.", "--limits", metavar="")] = False,
    max_record_bytes: Annotated[
        int, _in(_LIMITS, "Largest record (data and key) of streams made without a MaxRecordSizeInKiB.")
    ] = 1024 * 1024,
    shards_per_page: Annotated[int, _in(_LIMITS, "Most shards in an answer of ListShards.", min=1)] = 1000,
    create_milliseconds: Annotated[
        int, _in(_TIMES, "How long a stream or a consumer is CREATING.", callback=_not_negative)
    ] = 20,
    iterator_seconds: Annotated[
        float, _in(_TIMES, "How long a shard iterator is valid.", callback=_not_negative)
    ] = 300,
    hour_seconds: Annotated[
        float, _in(_TIMES, "How long an hour of the retention period lasts.", callback=_not_negative)
    ] = 3600,
    clock_offset_seconds: Annotated[
        float,
        _in(
            _TIMES,
            "How far its clock is ahead of the machine's (below 0: behind).",
            callback=_possible_offset,
        ),
    ] = 0,
    subscription_seconds: Annotated[
        float, _in(_TIMES, "How long SubscribeToShard pushes.", callback=_not_negative)
    ] = 300,
    takeover_seconds: Annotated[
        float, _in(_TIMES, "How long a subscription cannot be taken over.", callback=_not_negative)
    ] = 5,
    heartbeat_seconds: Annotated[
        float, _in(_TIMES, "Time between empty events to an idle subscriber.", callback=_not_negative)
    ] = 5,
) -> None:
    """Emulate Kinesis Data Streams until ^C or SIGTERM. Prints the endpoint's URL once it is ready.

    HTTP/1.1 and HTTP/2, JSON and CBOR are spoken on the one port.
    """
    options = Options(
        region=region,
        create_milliseconds=create_milliseconds,
        iterator_seconds=iterator_seconds,
        shards_per_page=shards_per_page,
        clock_offset_seconds=clock_offset_seconds,
        hour_seconds=hour_seconds,
        subscription_seconds=subscription_seconds,
        takeover_seconds=takeover_seconds,
        heartbeat_seconds=heartbeat_seconds,
        max_record_bytes=max_record_bytes,
        limits=limits,
        access_key=access_key,
        secret_key=secret_key,
        data_dir=data_dir,
    )
    if not 0 <= port <= 65535:
        _fail(f"port {port} does not exist; choose --port from 0 (any free one) to 65535")
    if (tls_cert is None) != (tls_key is None):
        _fail("--tls-cert and --tls-key belong together; give both, or --tls alone for a certificate made at start")
    version_6 = ":" in host
    listener = socket.socket(socket.AF_INET6 if version_6 else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        _fail(f"{host}:{port} cannot be bound ({error.strerror}); end what listens there, or choose --port")
    try:
        context = made_tls_context(host) if tls else None
        if tls_cert is not None and tls_key is not None:
            context = tls_context(tls_cert, tls_key)
        endpoint = Endpoint(options)
    except (CertificateError, DataFolderError) as error:
        _fail(str(error))

    def ready() -> None:
        named = f"[{host}]" if version_6 else host
        typer.echo(f"{'https' if context else 'http'}://{named}:{listener.getsockname()[1]}")
        sys.stdout.flush()

    asyncio.run(serve_endpoint(endpoint, listener, context, ready))


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    # Without the commands that install a shell's completion, which would stand above the options.
    application = typer.Typer(add_completion=False)
    application.command(epilog=operations_text())(serve)
    application()


if __name__ == "__main__":
    main()
