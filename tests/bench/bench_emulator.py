"""Records a second and server CPU of the emulator, against a server that does nothing with the same requests.

``python tests/bench/bench_emulator.py``. The baseline is aiohttp with one handler that reads the body and answers with
bytes as long as the emulator's, so the difference is what the emulator's own logic costs. The emulator is measured over
HTTP/1.1 in JSON, over HTTP/1.1 in CBOR, and over HTTP/2 in JSON.
"""

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import aiohttp
import cbor2
import httpx
import orjson
import psutil
import typer
from aiohttp import web

from kinesis_emulator import start_emulator

_JSON = "application/x-amz-json-1.1"
_CBOR = "application/x-amz-cbor-1.1"


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
        return web.Response(body=self._answers[operation], content_type=_JSON)


def _serve_baseline() -> None:
    import socket

    baseline = _Baseline()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/", baseline.answer)
    application.router.add_post("/teach/{operation}", baseline.teach)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    web.run_app(application, sock=listener, print=None, access_log=None)


_Call = Callable[[str, bytes], Awaitable[bytes]]


def _http1(session: aiohttp.ClientSession, url: str, content_type: str = _JSON) -> _Call:
    async def call(operation: str, body: bytes) -> bytes:
        headers = {"Content-Type": content_type, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.read()
            assert response.status == 200, answer
            return answer

    return call


def _http2(client: httpx.AsyncClient, url: str) -> _Call:
    async def call(operation: str, body: bytes) -> bytes:
        headers = {"Content-Type": _JSON, "X-Amz-Target": f"Kinesis_20131202.{operation}"}
        response = await client.post(url, content=body, headers=headers)
        assert response.status_code == 200, response.content
        return response.content

    return call


async def _timed(call: _Call, pid: int, operation: str, bodies: list[bytes], records: int) -> str:
    process = psutil.Process(pid)
    before, started = sum(process.cpu_times()[:2]), time.perf_counter()
    for body in bodies:
        await call(operation, body)
    seconds, cpu = time.perf_counter() - started, sum(process.cpu_times()[:2]) - before
    return f"{records / seconds:>10,.0f} records/s {cpu / records * 1e6:>7.2f} us server CPU a record"


async def _measure(ours: tuple[str, int], baseline: tuple[str, int], requests: int, record_bytes: int) -> None:
    data = b"x" * record_bytes
    keys, records = [str(n) for n in range(500)], requests * 500

    def put(data: Any) -> dict[str, Any]:
        return {"StreamName": "bench", "Records": [{"Data": data, "PartitionKey": key} for key in keys]}

    json_put, cbor_put = orjson.dumps(put(base64.b64encode(data).decode())), cbor2.dumps(put(data))
    async with aiohttp.ClientSession() as session, httpx.AsyncClient(http1=False, http2=True) as client:
        ours_json, ours_cbor = _http1(session, ours[0]), _http1(session, ours[0], _CBOR)
        idle = _http1(session, baseline[0])
        await ours_json("CreateStream", b'{"StreamName":"bench","ShardCount":1}')
        sample = await ours_json("PutRecords", json_put)
        await session.post(f"{baseline[0]}/teach/PutRecords", data=sample)
        for name, call, pid, body in (
            ("ours           ", ours_json, ours[1], json_put),
            ("baseline       ", idle, baseline[1], json_put),
            ("ours, by CBOR  ", ours_cbor, ours[1], cbor_put),
            ("ours, by HTTP/2", _http2(client, ours[0]), ours[1], json_put),
        ):
            print(f"put, 500 a request: {name}", await _timed(call, pid, "PutRecords", [body] * requests, records))
        where = b'{"StreamName":"bench","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}'
        token = orjson.loads(await ours_json("GetShardIterator", where))["ShardIterator"]
        get = {"ShardIterator": token}
        sample = await ours_json("GetRecords", orjson.dumps(get))
        count = len(orjson.loads(sample)["Records"])
        await session.post(f"{baseline[0]}/teach/GetRecords", data=sample)
        gets = max(20, records // count)
        for name, call, pid, body in (
            ("ours           ", ours_json, ours[1], orjson.dumps(get)),
            ("baseline       ", idle, baseline[1], orjson.dumps(get)),
            ("ours, by CBOR  ", ours_cbor, ours[1], cbor2.dumps(get)),
            ("ours, by HTTP/2", _http2(client, ours[0]), ours[1], orjson.dumps(get)),
        ):
            line = await _timed(call, pid, "GetRecords", [body] * gets, count * gets)
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
