"""Base64 of a whole page at once: half the time of binascii, which takes a record and a character at a time."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PAD = ord("=")
_INVALID = 0xFFFF
# Two characters, as the little-endian number that they are in memory, to their twelve bits.
_TWELVE_BITS = np.full(1 << 16, _INVALID, "<u2")
for _high, _first in enumerate(_ALPHABET):
    for _low, _second in enumerate(_ALPHABET):
        _TWELVE_BITS[_first | _second << 8] = _high << 6 | _low
    _TWELVE_BITS[_first | _PAD << 8] = _high << 6
_TWELVE_BITS[_PAD | _PAD << 8] = 0
# Pairs of characters a step: large enough that numpy's calls cost nothing, small enough for the cache.
_STEP = 1 << 15


def cut(buffer: pa.Buffer, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    """The slices ``[start, end)``, one at least, ascending and apart, of a buffer under 2 GiB, copied into an array.

    ``kind`` is binary or string; whether a string is UTF-8 is not looked at.
    """
    offsets = np.empty(2 * len(starts), np.int32)
    offsets[::2], offsets[1::2] = starts, ends
    # Slices and what lies between them, by turns; Arrow then copies every other one.
    both = pa.Array.from_buffers(kind, len(offsets) - 1, [None, pa.py_buffer(offsets), buffer])
    return both.take(pa.array(np.arange(0, len(offsets), 2)))


def decode(texts: pa.BinaryArray) -> pa.BinaryArray | None:
    """What ``cut`` gave, decoded; None unless each one is padded base64 of the standard alphabet."""
    _, offset_buffer, character_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(texts) + 1).astype(np.int64)
    characters = np.frombuffer(character_buffer or b"", np.uint8, int(offsets[-1]))
    if offsets[0] or (offsets & 3).any():
        return None
    filled = np.diff(offsets) > 0
    tails = offsets[1:][filled]
    last, last_but_one = (characters[tails - back] == _PAD for back in (1, 2))
    pads = np.zeros(len(texts), np.int64)
    pads[filled] = last.astype(np.int64) + (last & last_but_one)
    # The table takes padding anywhere; it may only stand at the ends.
    if np.count_nonzero(characters == _PAD) != pads.sum():
        return None
    decoded = _decode(characters)
    if decoded is None:
        return None
    starts = offsets // 4 * 3
    return cut(pa.py_buffer(decoded), starts[:-1], starts[1:] - pads, pa.binary())


def _decode(characters: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Three bytes for every four characters, where padding counts as zero bits; None if one is not in the alphabet."""
    pairs = characters.view("<u2")
    # Four bytes are written for every three, so the last one lies behind the end.
    decoded = np.empty(len(pairs) // 2 * 3 + 1, np.uint8)
    step = min(_STEP, len(pairs))
    indexes, twelve = np.empty(step, np.intp), np.empty(step, "<u2")
    words, shifted = np.empty(step // 2, "<u4"), np.empty(step // 2, "<u4")
    for start in range(0, len(pairs), step or 1):
        count = min(step, len(pairs) - start)
        groups = count // 2
        indexes[:count] = pairs[start : start + count]
        # "clip" only spares numpy a copy: no index is out of range.
        np.take(_TWELVE_BITS, indexes[:count], out=twelve[:count], mode="clip")
        if twelve[:count].max() == _INVALID:
            return None
        halves, word, low = twelve[:count].view("<u4"), words[:groups], shifted[:groups]
        np.left_shift(halves, 20, out=word)
        np.right_shift(halves, 8, out=low)
        np.bitwise_and(low, 0x000FFF00, out=low)
        np.bitwise_or(word, low, out=word)
        # 24 bits on top of a word: big-endian, they are the three bytes and a zero that the next group overwrites.
        target = np.ndarray((groups,), ">u4", decoded.data, start // 2 * 3, (3,))
        target[:] = word
    return decoded
