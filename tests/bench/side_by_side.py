"""Loops that do the same work, one after the other on one core, against a server of canned answers on the other."""

import os
import socketserver
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Samples = dict[str, list[tuple[float, float]]]
"""By loop, (seconds, CPU seconds) a record of each round."""


class CannedHandler(socketserver.StreamRequestHandler):
    """Answers each request on a connection that stays open; what it answers is the subclass's."""

    disable_nagle_algorithm = True

    def answer(self, body: bytes) -> bytes:
        raise NotImplementedError

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline().lower()) not in (b"\r\n", b""):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            answer = self.answer(self.rfile.read(length))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n\r\n"
            self.wfile.write(head % len(answer) + answer)


def serve(handler: type[CannedHandler]) -> None:
    """Say the address, and serve until the process is ended."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


@contextmanager
def canned_server(script: str) -> Iterator[str]:
    """The address of ``script --canned``, which has the other core, where there is one; this process has the first."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    with subprocess.Popen([sys.executable, script, "--canned"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(server.pid, set(cores[1:]) or set(cores))
            os.sched_setaffinity(0, {cores[0]})
            yield url
        finally:
            server.terminate()


def interleaved(loops: dict[str, Callable[[], int]], records: int, rounds: int) -> Samples:
    """Each loop once a round, after one in which each must have handled as many records."""
    for name, loop in loops.items():
        handled = loop()
        assert handled == records, f"{name} handled {handled:,} of {records:,} records"
    samples: Samples = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            started, cpu = time.perf_counter(), time.process_time()
            loop()
            samples[name].append(((time.perf_counter() - started) / records, (time.process_time() - cpu) / records))
    return samples


def summary(samples: Samples, baseline: str) -> dict[str, dict[str, object]]:
    """Medians of each loop, and how many times it does what the baseline does: ratios within a round."""
    result: dict[str, dict[str, object]] = {}
    for name, taken in samples.items():
        result[name] = {
            "records_per_second": round(1 / statistics.median(seconds for seconds, _ in taken)),
            "cpu_us_per_record": round(statistics.median(cpu for _, cpu in taken) * 1e6, 2),
        }
        for index, ratio in enumerate(("times_records_per_second", "times_less_cpu") if name != baseline else ()):
            ratios = sorted(their[index] / our[index] for their, our in zip(samples[baseline], taken, strict=True))
            result[name][ratio] = {"median": round(statistics.median(ratios), 2), "least": round(ratios[0], 2)}
    return result
