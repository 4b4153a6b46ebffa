"""Sequence numbers: each tells its stream's creation, its shard, and its place in the order of the whole stream.

They look like those of the service, as kinesalite describes them: 47 hexadecimal digits that begin and end with a 2.
Between stand the creation of the stream (9 digits of seconds, 3 of milliseconds), the place (16), zeros (9) and the
shard (8).
"""

from dataclasses import dataclass

_VERSION = 2
_SHARD, _ZEROS, _PLACE, _CREATION, _FIRST = 4, 36, 72, 136, 184
_SHARD_BITS, _ZERO_BITS, _PLACE_BITS, _CREATION_BITS = 32, 36, 64, 48
_UNMARKED = 495 * 10**53
UNTOLD = -1


@dataclass(frozen=True)
class Position:
    """What a number tells: the stream's creation, the shard (UNTOLD for older versions' numbers), the place."""

    creation: int
    shard: int
    place: int


class SequenceNumbers:
    """The numbers of a stream that was created at a time (milliseconds, another for each stream).

    0 stands for a stream in a journal of an older version, whose numbers told neither creation nor shard.
    """

    def __init__(self, creation_ms: int) -> None:
        self.creation = creation_ms
        seconds, milliseconds = divmod(creation_ms, 1000)
        self._base = _VERSION << _FIRST | (seconds << 12 | milliseconds) << _CREATION | _VERSION

    def number(self, place: int, shard: int) -> int:
        """The number of a place in the stream, in a shard."""
        return self._base | place << _PLACE | shard << _SHARD if self.creation else _UNMARKED + place

    def position(self, number: int) -> Position | None:
        """What a number tells; None where it is none that the emulator ever gives out."""
        if not self.creation and 0 < number - _UNMARKED < 1 << _PLACE_BITS:
            return Position(0, UNTOLD, number - _UNMARKED)
        if number >> _FIRST != _VERSION or _bits(number, 0, 4) != _VERSION or _bits(number, _ZEROS, _ZERO_BITS):
            return None
        seconds, milliseconds = divmod(_bits(number, _CREATION, _CREATION_BITS), 1 << 12)
        if milliseconds > 999:
            return None
        creation = seconds * 1000 + milliseconds
        return Position(creation, _bits(number, _SHARD, _SHARD_BITS), _bits(number, _PLACE, _PLACE_BITS))


def _bits(number: int, start: int, count: int) -> int:
    return number >> start & ((1 << count) - 1)
