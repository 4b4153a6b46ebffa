"""Connections stay open, and do not grow with the number of servers, as of the DataNodes of an HDFS."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pyspark_kinesis.api import connections
from pyspark_kinesis.api.connections import Connections


class Counted(ThreadingHTTPServer):
    """Answers with two chunks, the second once it may, and counts its connections."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.block_on_close = False
        self.counts: Counter[str] = Counter()
        self.closed = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.may_end.set()
        self.url = f"http://127.0.0.1:{self.server_port}/"

    @property
    def open(self) -> int:
        return self.counts["opened"] - self.counts["closed"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counted

    def setup(self) -> None:
        self.server.counts["opened"] += 1
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.server.counts["closed"] += 1
        self.server.closed.release()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"o")
        self.server.may_end.wait(30)
        self.wfile.write(b"k")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(count: int) -> Iterator[list[Counted]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(Counted()) for _ in range(count)]
        for server in servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield servers


def test_those_of_the_server_that_was_asked_longest_ago_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MAX_SERVERS", 2)
    with serving(3) as (first, second, third):
        ours = Connections(4)
        for server in (first, second, first, first, third):
            assert ours.send("GET", server.url).data == b"ok"
        assert second.closed.acquire(timeout=30)
        assert [server.open for server in (first, second, third)] == [1, 0, 1]
        assert ours.send("GET", second.url).data == b"ok"
        assert first.closed.acquire(timeout=30)
        assert [server.counts["opened"] for server in (first, second, third)] == [1, 2, 1]


def test_an_answer_that_is_being_read_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MAX_SERVERS", 1)
    with serving(2) as (slow, other):
        ours = Connections(4)
        slow.may_end.clear()
        answer = ours.send("GET", slow.url, preload_content=False)
        assert answer.read(1) == b"o"
        assert ours.send("GET", other.url).data == b"ok"
        slow.may_end.set()
        assert answer.read() == b"k"
        del answer
        assert slow.closed.acquire(timeout=30), "and its connection is closed then"


def test_many_threads_and_many_servers_get_all_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MAX_SERVERS", 1)
    with serving(3) as servers:
        ours, wrong = Connections(4), []

        def ask(first: int) -> None:
            try:
                for n in range(100):
                    assert ours.send("GET", servers[(first + n) % 3].url).data == b"ok"
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
