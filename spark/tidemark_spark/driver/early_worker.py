"""The Python that Spark runs as a worker: it connects to Spark before it imports anything large.

Spark gives a worker that it starts by itself (of a Python data source's planner, say) ten seconds to connect, which is
fixed in its code (PythonWorkerFactory, "Python worker failed to connect back"). PySpark's workers connect after their
imports, which take longer than that on a busy machine. So this program connects first, and hands the connection to
PySpark's own code when that asks for it.

It takes the arguments of ``python`` as Spark gives them: ``-m MODULE ARGUMENT…``.
"""

import os
import runpy
import socket
import struct
import sys
from typing import Any


def main() -> None:
    """Connect, if Spark waits for that, then run the module."""
    if sys.argv[1:2] != ["-m"]:
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606  (not a worker: plain Python)
    connection = _connect()
    module, arguments = sys.argv[2], sys.argv[3:]
    sys.argv = [module, *arguments]
    if connection is not None:
        _hand_over(connection)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _connect() -> socket.socket | None:
    path, port = os.environ.get("PYTHON_WORKER_FACTORY_SOCK_PATH"), os.environ.get("PYTHON_WORKER_FACTORY_PORT")
    if path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        return connection
    secret = os.environ.get("PYTHON_WORKER_FACTORY_SECRET")
    if port is None or secret is None or os.environ.get("SPARK_PREFER_IPV6", "false").lower() == "true":
        return None
    connection = socket.create_connection(("127.0.0.1", int(port)))
    # Spark waits for the secret as long as for the connection (SocketAuthHelper): a length of four bytes, and the text.
    told = secret.encode()
    connection.sendall(struct.pack("!i", len(told)) + told)
    return connection


def _hand_over(connection: socket.socket) -> None:
    """Give the connection to the first that asks PySpark for one."""
    from pyspark import util

    original = util.local_connect_and_auth
    waiting = [connection]

    def connect(conn_info: str | int | None, auth_secret: str | None) -> tuple[Any, ...]:
        if not waiting:
            return original(conn_info, auth_secret)
        made = waiting.pop()
        made.settimeout(int(os.environ.get("SPARK_AUTH_SOCKET_TIMEOUT", "15")))
        file = made.makefile("rwb", int(os.environ.get("SPARK_BUFFER_SIZE", "65536")))
        if auth_secret is not None:
            (length,) = struct.unpack("!i", file.read(4))
            if (reply := file.read(length)) != b"ok":
                raise ConnectionError(f"Spark refuses this worker: {reply!r}")
        return file, made

    util.local_connect_and_auth = connect


if __name__ == "__main__":
    main()
