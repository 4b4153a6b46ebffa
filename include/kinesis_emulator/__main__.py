"""``kinesis-emulator``: runs the emulator until it is told to stop."""

import socket
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from aiohttp import web

from kinesis_emulator.api import Options
from kinesis_emulator.clock import MAX_OFFSET_SECONDS
from kinesis_emulator.journal import DataFolderError
from kinesis_emulator.server import Server


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 4567,
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    data_dir: Annotated[Path | None, typer.Option(help="Keep streams and records in this folder.")] = None,
    limits: Annotated[bool, typer.Option(help="Enforce the limits that a real shard has.")] = False,
    region: Annotated[str, typer.Option(help="Region in stream ARNs.")] = "us-east-1",
    create_milliseconds: Annotated[int, typer.Option(help="How long a stream is CREATING.")] = 20,
    iterator_seconds: Annotated[float, typer.Option(help="How long a shard iterator is valid.")] = 300,
    shards_per_page: Annotated[int, typer.Option(min=1, help="Most shards in an answer of ListShards.")] = 1000,
    clock_offset_seconds: Annotated[
        float,
        typer.Option(
            min=-MAX_OFFSET_SECONDS, max=MAX_OFFSET_SECONDS, help="How far its clock is ahead of the machine's."
        ),
    ] = 0,
    hour_seconds: Annotated[float, typer.Option(help="How long an hour of the retention period lasts.")] = 3600,
    subscription_seconds: Annotated[float, typer.Option(help="How long SubscribeToShard pushes.")] = 300,
    takeover_seconds: Annotated[float, typer.Option(help="How long a subscription cannot be taken over.")] = 5,
    heartbeat_seconds: Annotated[float, typer.Option(help="Time between empty events to an idle subscriber.")] = 5,
    max_record_bytes: Annotated[int, typer.Option(help="Largest record, data and partition key.")] = 1024 * 1024,
    access_key: Annotated[str | None, typer.Option(help="Refuse requests signed with another access key id.")] = None,
    secret_key: Annotated[str | None, typer.Option(help="With --access-key: check signatures, too.")] = None,
) -> None:
    """Emulate Kinesis Data Streams. Prints the endpoint once it is ready."""
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
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        _fail(f"{host}:{port} cannot be bound ({error.strerror}); end what listens there, or choose --port")
    # Before the endpoint is told: aiohttp listens after its start-up hooks, and a quick client would be refused.
    listener.listen(128)
    endpoint = f"http://{host}:{listener.getsockname()[1]}"
    try:
        application = Server(options).application()
    except DataFolderError as error:
        _fail(str(error))

    async def ready(_: web.Application) -> None:
        typer.echo(endpoint)
        sys.stdout.flush()

    application.on_startup.append(ready)
    # aiohttp turns SIGINT and SIGTERM into a graceful end.
    web.run_app(application, sock=listener, print=lambda *_: None, shutdown_timeout=1, access_log=None)


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    typer.run(serve)


if __name__ == "__main__":
    main()
