"""The content of a DATA file as bytes: its first line and NUL byte, and digests and lines of its beginnings.

Owns the one pass over a file that answers each of these, plain or compressed, in bounded memory. It remembers nothing
and decides nothing: ``tracked_file`` asks, and keeps the answer for as long as the stat is the same.
"""

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

from upswell import kernel
from upswell.source.header import FirstLine, read_first_line
from upswell.source.listing import open_regular

_BLOCK_BYTES = 1 << 18  # what is searched at a time


def find_nul(fd: int, start: int, end: int) -> int:
    """Return the position of the first NUL byte in [start, end), or the end of what is there of it."""
    while start < end and (block := os.pread(fd, min(_BLOCK_BYTES, end - start), start)):
        found = block.find(b"\0")
        if found >= 0:
            return start + found
        start += len(block)
    return start


def digests_at(path: bytes, lengths: Sequence[int], *, compressed: bool) -> dict[int, int]:
    """Return the digest of the first bytes of a file's content, for each of these lengths, ascending.

    A shorter content has fewer. Raises OSError when it cannot be read, ValueError when its gzip data is broken.
    """
    found: dict[int, int] = {}
    start = digest = 0
    if compressed:
        with open_regular(path) as fd, open(fd, "rb", closefd=False) as raw:
            return _digests_of_gzip(raw, lengths)
    for length in lengths:
        digest, read = kernel.digest(path, start, length, digest, compressed=False)
        if read < length - start:
            break
        found[length] = digest
        start = length
    return found


def count_lines(path: bytes, length: int, *, compressed: bool) -> int:
    """Return how many lines the first bytes of a file's content hold. Raises as ``digests_at`` does."""
    lines, last = 0, b"\n"
    with (
        open_regular(path) as fd,
        open(fd, "rb", closefd=False) as raw,
        _gzip_content(raw) if compressed else nullcontext(raw) as stream,
    ):
        while length and (block := stream.read(min(_BLOCK_BYTES, length))):
            lines, last, length = lines + block.count(b"\n"), block[-1:], length - len(block)
    return lines + (last != b"\n")


def first_line_of_gzip(raw: BinaryIO) -> FirstLine:
    """Return the first line of compressed content that is not blank. Raises ValueError when its data is broken."""
    with _gzip_content(raw) as stream:
        return read_first_line(stream)


def _digests_of_gzip(raw: BinaryIO, lengths: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    at = digest = 0
    with _gzip_content(raw) as stream:
        for length in lengths:
            while at < length and (block := stream.read(min(_BLOCK_BYTES, length - at))):
                digest = kernel.crc64(block, digest)
                at += len(block)
            if at == length:
                found[length] = digest
    return found


@contextmanager
def _gzip_content(raw: BinaryIO) -> Iterator[gzip.GzipFile]:
    """Open the content of a compressed file. Inside it, what the data lacks raises ValueError."""
    try:
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error
