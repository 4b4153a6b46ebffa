"""Records a second and server CPU of the emulator, against a server that does nothing with the same requests.

``python tests/bench/bench_emulator.py``. The baseline is aiohttp with one handler that reads the body and answers with
bytes as long as the emulator's, so the difference is what the emulator's own logic costs.
"""

import asyncio
import base64
import subprocess
import sys
import time
from typing import Annotated, Any

import aiohttp
import orjson
import psutil
import typer
from aiohttp import web

from kinesis_emulator import start_emulator

_HEADERS = {"Content-Type": "application/x-amz-json-1.1"}


class _Baseline:
    """Answers each operation with the last bytes that were taught for it."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}

    async def teach(self, request: web.Request) -> web.Response:
        self._answers[request.match_info["operation"]] = await request.read()
        return web.Response()

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        return web.Response(body=self._answers[operation], content_type=_HEADERS["Content-Type"])


def _serve_baseline() -> None:
    import socket

    baseline = _Baseline()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/", baseline.answer)
    application.router.add_post("/teach/{operation}", baseline.teach)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    web.run_app(application, sock=listener, print=None, access_log=None)


async def _call(session: aiohttp.ClientSession, url: str, operation: str, body: bytes) -> bytes:
    headers = {**_HEADERS, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
    async with session.post(url, data=body, headers=headers) as response:
        answer = await response.read()
        assert response.status == 200, answer
        return answer


async def _timed(
    session: aiohttp.ClientSession, url: str, pid: int, operation: str, bodies: list[bytes], records: int
) -> str:
    process = psutil.Process(pid)
    before, started = sum(process.cpu_times()[:2]), time.perf_counter()
    for body in bodies:
        await _call(session, url, operation, body)
    seconds, cpu = time.perf_counter() - started, sum(process.cpu_times()[:2]) - before
    return f"{records / seconds:>10,.0f} records/s {cpu / records * 1e6:>7.2f} us server CPU a record"


async def _measure(ours: tuple[str, int], baseline: tuple[str, int], requests: int, record_bytes: int) -> None:
    data = base64.b64encode(b"x" * record_bytes).decode()
    put: dict[str, Any] = {
        "StreamName": "bench",
        "Records": [{"Data": data, "PartitionKey": str(n)} for n in range(500)],
    }
    puts, records = [orjson.dumps(put)] * requests, requests * 500
    async with aiohttp.ClientSession() as session:
        await _call(session, ours[0], "CreateStream", b'{"StreamName":"bench","ShardCount":1}')
        sample = await _call(session, ours[0], "PutRecords", puts[0])
        await session.post(f"{baseline[0]}/teach/PutRecords", data=sample)
        print("put, 500 a request: ours    ", await _timed(session, *ours, "PutRecords", puts, records))
        print("put, 500 a request: baseline", await _timed(session, *baseline, "PutRecords", puts, records))
        where = b'{"StreamName":"bench","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}'
        token = orjson.loads(await _call(session, ours[0], "GetShardIterator", where))["ShardIterator"]
        get = orjson.dumps({"ShardIterator": token})
        sample = await _call(session, ours[0], "GetRecords", get)
        count = len(orjson.loads(sample)["Records"])
        await session.post(f"{baseline[0]}/teach/GetRecords", data=sample)
        gets = [get] * max(20, records // count)
        for name, server in (("ours    ", ours), ("baseline", baseline)):
            line = await _timed(session, *server, "GetRecords", gets, count * len(gets))
            print(f"get, {count} a request: {name}", line)


def main(
    requests: Annotated[int, typer.Option(help="PutRecords requests of 500 records.")] = 200,
    record_bytes: Annotated[int, typer.Option(help="Bytes of data in a record.")] = 200,
    serve_baseline: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Print put and get records/s and server CPU a record, ours and the baseline's."""
    if serve_baseline:
        _serve_baseline()
        return
    # The stream takes records at once, so that nothing has to be waited for.
    process, endpoint = start_emulator(arguments=("--create-milliseconds", "0"))
    command = [sys.executable, __file__, "--serve-baseline"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as baseline:
        try:
            assert baseline.stdout is not None
            baseline_url = baseline.stdout.readline().strip()
            asyncio.run(_measure((endpoint, process.pid), (baseline_url, baseline.pid), requests, record_bytes))
        finally:
            baseline.terminate()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    typer.run(main)
