"""What the demo shows while it runs: the serving view by origin, split into what each layer contributes."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from tidemark.definition.measures import Dialect
from tidemark.serving import Snapshot, serving_sql
from tidemark.serving.sql import Layer


@dataclass(frozen=True)
class OriginRow:
    """Departures of one airport so far: by the batch layer, by the speed layer, and merged."""

    origin: str
    batch: int
    speed: int
    merged: int
    mean_delay: float | None


@dataclass(frozen=True)
class Served:
    """One answer of the serving view."""

    rows: list[OriginRow]
    position: int
    newest_arrival: datetime | None

    @property
    def freshness_seconds(self) -> float | None:
        """Age of the newest event in the answer, by its arrival in Kinesis."""
        return None if self.newest_arrival is None else (datetime.now(UTC) - self.newest_arrival).total_seconds()


def serve(snapshot: Snapshot, connection: duckdb.DuckDBPyConnection) -> Served:
    """Ask the serving view for departures by origin, once merged and once by layer, all of one snapshot."""
    connection.register("batch", snapshot.batch.to_pyarrow_dataset())
    connection.register("speed", snapshot.speed.to_pyarrow_dataset())
    layers: dict[str, Layer | None] = {"merged": None, "by_batch": "batch", "by_speed": "speed"}
    views = {
        name: serving_sql(snapshot.pipeline, snapshot.rollup, Dialect.DUCKDB, layer=layer)
        for name, layer in layers.items()
    }
    parts = " UNION ALL ".join(
        f"SELECT '{name}' AS layer, origin, departures, mean_delay, newest_arrival FROM ({text})"
        for name, text in views.items()
    )
    found = connection.execute(f"""
        SELECT origin,
            coalesce(sum(departures) FILTER (layer = 'by_batch'), 0),
            coalesce(sum(departures) FILTER (layer = 'by_speed'), 0),
            coalesce(sum(departures) FILTER (layer = 'merged'), 0),
            sum(mean_delay * departures) FILTER (layer = 'merged')
                / nullif(sum(departures) FILTER (layer = 'merged'), 0),
            max(newest_arrival)
        FROM ({parts}) GROUP BY origin ORDER BY origin
    """).fetchall()
    rows = [OriginRow(origin, int(b), int(s), int(m), mean) for origin, b, s, m, mean, _ in found]
    newest = max((row[5] for row in found), default=None)
    return Served(rows, snapshot.position, newest)


@dataclass
class Board:
    """The state that the picture shows."""

    served: Served | None = None
    put: int = 0
    phase: str = "starting"
    moves: str = ""
    """What moves while the phase goes on."""
    starting: list[str] = field(default_factory=list)
    """Parts of the platform that are not ready, with their state."""
    notes: list[str] = field(default_factory=list)

    def __rich__(self) -> RenderableType:
        """The picture: one table and a line on how things stand."""
        table = RichTable("origin", title="flights.departures_daily, as served", title_justify="left")
        for name in ("batch part", "speed part", "merged", "mean delay (min)"):
            table.add_column(name, justify="right")
        for row in self.served.rows if self.served else []:
            mean = "" if row.mean_delay is None else f"{row.mean_delay:.2f}"
            table.add_row(row.origin, f"{row.batch:,}", f"{row.speed:,}", f"{row.merged:,}", mean)
        lines = [Text(self.line())]
        lines += [Text(f"{self.phase}: {self.moves}", style="dim")] if self.moves else []
        lines += [Text(f"not ready: {', '.join(self.starting)}", style="dim")] if self.starting else []
        return Group(table, *lines, *(Text(note, style="dim") for note in self.notes[-6:]))

    def line(self) -> str:
        """The state in one line."""
        fresh = self.served.freshness_seconds if self.served else None
        position = self.served.position if self.served else -1
        age = "" if fresh is None else f" · newest event {fresh:.1f} s old"
        return f"{self.put:,} records put · position {position}{age} · {self.phase}"


class Screen:
    """Shows the board: as a picture on a terminal, and elsewhere in lines, one at least every ten seconds."""

    LINE_SECONDS = 10.0

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._live = (
            Live(board, console=console, refresh_per_second=4) if console.is_terminal or console.record else None
        )
        self._began = time.monotonic()
        self._said_at = 0.0
        self._said_phase = ""

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._console.print(self._board)

    def show(self) -> None:
        """Say how things stand, where that is not a picture: on a new phase, and then now and again."""
        now, board = time.monotonic(), self._board
        if self._live is not None or (now - self._said_at < self.LINE_SECONDS and board.phase == self._said_phase):
            return
        self._said_at, self._said_phase = now, board.phase
        waits = f" · not ready: {', '.join(board.starting)}" if board.starting else ""
        moves = f" · {board.moves}" if board.moves else ""
        self._say(f"{board.line()}{moves}{waits}")

    def note(self, text: str) -> None:
        """Say something that has happened."""
        if self._live is None:
            self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:5.0f} s  {text}", highlight=False, soft_wrap=True)
