"""The odd files that generated traffic can contain: a closed table.

Owns the name, the description and the making of each kind, and the state that a finished run must show for it. It does
not decide where they go and writes no file: a fault is an edit of the bytes on their way to disk.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from upswell.reference.segment import BYTE_ORDER_MARK
from upswell.source.file import State

FAR_YEAR = 2096
"""Far ahead of every clock, and a leap year, so that every date exists in it."""
OLD_FILE_DAYS = 400
"""Longer than any series of generated files, so that an old stamp is never that of another file."""
GZIP_LEVEL = 1
"""The generator should be fast; nobody keeps its files."""

PLAIN_NAME = "DATA_{stamp}.csv"
GZIP_NAME = "DATA_{stamp}.csv.gz"

_GZIP = 31  # zlib's way to ask for a gzip header and trailer
_COPY_BYTES = 1 << 20


Edit = Callable[[Iterator[bytes], Path | None], Iterable[bytes]]
"""From the chunks of a faultless file, and the path of an ordinary file before it, to the bytes on disk."""


def unchanged(chunks: Iterator[bytes], _: Path | None) -> Iterable[bytes]:
    """Return the chunks of the faultless file."""
    return chunks


def compress(chunks: Iterable[bytes], _: Path | None = None) -> Iterator[bytes]:
    """Yield the chunks as one gzip member: the same bytes for the same chunks."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def read_content(path: Path) -> Iterator[bytes]:
    """Yield the uncompressed content of a whole DATA file, in blocks."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        while block := stream.read(_COPY_BYTES):
            yield block


def _members(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        middle = len(chunk) // 2  # hardly ever at the end of a line
        for part in (chunk[:middle], chunk[middle:]):
            yield b"".join(compress((part,)))


def _zip(chunks: Iterator[bytes], _: Path | None) -> Iterator[bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=GZIP_LEVEL) as stream:
        stream.writestr(zipfile.ZipInfo("DATA.csv", (2026, 1, 1, 0, 0, 0)), b"".join(chunks))
    yield archive.getvalue()


def _change_last(chunks: Iterable[bytes], change: Callable[[bytes], bytes]) -> Iterator[bytes]:
    last = b""
    for chunk in chunks:
        if chunk:
            if last:
                yield last
            last = chunk
    yield change(last)


def _copy(previous: Path | None) -> Iterator[bytes]:
    return read_content(previous) if previous else iter(())


def _first_line(previous: Path | None) -> Iterator[bytes]:
    for block in _copy(previous):
        yield block[: block.find(b"\n") + 1]
        return


def _before(start: str | bytes, encoding: str = "ascii") -> Edit:
    content = start if isinstance(start, bytes) else start.encode(encoding)
    return lambda chunks, _: chain((content,), chunks)


def _utf_16(chunks: Iterator[bytes], _: Path | None) -> Iterator[bytes]:
    yield b"\xff\xfe"
    for chunk in chunks:
        yield chunk.decode("latin-1").encode("utf-16-le")


def _in_its_minute(start: datetime) -> datetime:
    return start


class FileFault(NamedTuple):
    """A kind of odd file; not all of them are bad."""

    description: str
    state: State
    """That a finished run must show for it."""
    edit: Edit = unchanged
    name: str = PLAIN_NAME
    """A format, whose fields ``name_at`` fills in."""
    beside: bool = False
    """Made in addition to a minute's ordinary file, not instead of it."""
    when: Callable[[datetime], datetime] = _in_its_minute
    """From its minute to the moment that its stamp and its records carry."""
    node: Literal["file", "link", "dangling", "directory"] = "file"

    def name_at(self, start: datetime) -> str:
        """Return its name in the minute that starts at ``start``."""
        moment = self.when(start)
        return self.name.format(
            stamp=stamp_of(moment),
            month_over_12=f"{moment:%Y}{moment.month + 12}{moment:%d%H%M}",
            day_over_31=f"{moment:%Y%m}{moment.day + 40}{moment:%H%M}",
            minute_over_59=f"{moment:%Y%m%d%H}{moment.minute % 40 + 60}",
        )


def stamp_of(moment: datetime) -> str:
    """Return the stamp yyyyMMddHHmm of a file that begins at this moment."""
    return f"{moment:%Y%m%d%H%M}"


def _long_before(start: datetime) -> datetime:
    return start - timedelta(days=OLD_FILE_DAYS)


def _far_ahead(start: datetime) -> datetime:
    return start.replace(year=FAR_YEAR)


def _ignored(
    description: str, name: str, node: Literal["file", "link", "dangling", "directory"] = "file"
) -> FileFault:
    # A name that a minute's own file could have needs another time.
    when = _in_its_minute if node == "file" else _long_before
    return FileFault(description, "ignored", unchanged, name, True, when, node)


FILE_FAULTS: dict[str, FileFault] = {
    "crlf_file": FileFault(
        r"every line ends in \r\n", "done", lambda p, _: (x.replace(b"\n", b"\r\n") for x in p)
    ),
    "byte_order_mark": FileFault(
        "it starts with a byte-order mark", "done", _before(BYTE_ORDER_MARK)
    ),
    "header": FileFault("it has a header", "done", _before("msisdn,service,volume,timestamp\n")),
    "latin_1_header": FileFault(
        "it has a header in Latin-1",
        "done",
        _before("Numéro,Catégorie,Quantité,Été\r\n", "latin-1"),
    ),
    "columns_order": FileFault(
        "its header names its columns in another order than is read",
        "held",
        _before("msisdn,volume,service,timestamp\n"),
    ),
    "same_first_line": FileFault(
        "it starts like an earlier file, and continues differently",
        "done",
        lambda p, previous: chain(_first_line(previous), p),
    ),
    "unterminated": FileFault(
        "its last line has no line end",
        "done",
        lambda p, _: _change_last(p, lambda last: last.removesuffix(b"\n")),
    ),
    "unterminated_cr": FileFault(
        r"its last line ends in a lone \r",
        "done",
        lambda p, _: _change_last(p, lambda last: last.removesuffix(b"\n") + b"\r"),
    ),
    "half_written": FileFault(
        "it ends in the middle of a record",
        "done",
        lambda p, _: _change_last(p, lambda last: last[:-9]),
    ),
    "gzip": FileFault("it is compressed", "done", compress, GZIP_NAME),
    "gzip_members": FileFault(
        "it is compressed in several members", "done", lambda p, _: _members(p), GZIP_NAME
    ),
    # Little-endian UTF-16 ends in a NUL byte, as a hole does.
    "utf_16_file": FileFault("it is in UTF-16", "held", _utf_16),
    "empty": FileFault("it is empty", "done", lambda p, _: ()),
    "only_byte_order_mark": FileFault(
        "it is only a byte-order mark", "done", lambda p, _: (BYTE_ORDER_MARK,)
    ),
    "only_line_ends": FileFault("it consists of line ends", "done", lambda p, _: (b"\n\r\n\n",)),
    "duplicate": FileFault(
        "it has the content of an earlier file", "duplicate", lambda p, previous: _copy(previous)
    ),
    "duplicate_gzip": FileFault(
        "it has the content of an earlier file, compressed",
        "duplicate",
        lambda p, previous: compress(_copy(previous)),
        GZIP_NAME,
    ),
    "gzip_truncated": FileFault(
        "it is compressed, and its end is missing",
        "held",
        lambda p, _: _change_last(compress(p), lambda last: last[: len(last) // 2]),
        GZIP_NAME,
    ),
    "gzip_corrupt": FileFault(
        "it is compressed, and its checksum is wrong",
        "held",
        lambda p, _: _change_last(
            compress(p), lambda last: last[:-8] + bytes(byte ^ 0xFF for byte in last[-8:])
        ),
        GZIP_NAME,
    ),
    "gzip_as_plain": FileFault("it is compressed under a plain name", "held", compress),
    "zip_as_plain": FileFault("it is a ZIP archive under a plain name", "held", _zip),
    "plain_as_gzip": FileFault("it is plain under a compressed name", "held", unchanged, GZIP_NAME),
    "old_stamp": FileFault(
        "its stamp is more than a year old", "done", unchanged, PLAIN_NAME, True, _long_before
    ),
    "far_stamp": FileFault(
        "its stamp is decades ahead", "held", unchanged, PLAIN_NAME, True, _far_ahead
    ),
    "lower_case": _ignored("a name in lower case", "data_{stamp}.csv"),
    "upper_suffix": _ignored("a suffix in capitals", "DATA_{stamp}.CSV"),
    "temporary": _ignored("a temporary name", "DATA_{stamp}.csv.tmp"),
    "hidden": _ignored("a hidden name", ".DATA_{stamp}.csv"),
    "copy_name": _ignored("the name of a copy", "DATA_{stamp} (1).csv"),
    "seconds_name": _ignored("a stamp with seconds", "DATA_{stamp}00.csv"),
    "minute_over_59": _ignored("a minute over 59", "DATA_{minute_over_59}.csv"),
    "day_over_31": _ignored("a day over 31", "DATA_{day_over_31}.csv"),
    "month_over_12": _ignored("a month over 12", "DATA_{month_over_12}.csv"),
    "control_name": _ignored(
        "a line end and escape codes in a name", "DATA_{stamp}\n\x1b[31m'.csv"
    ),
    "bytes_name": _ignored("a name that is not UTF-8", "DATA_{stamp}\udcff.csv"),
    "link": _ignored("a link to a DATA file", PLAIN_NAME, "link"),
    "dangling_link": _ignored("a dangling link", PLAIN_NAME, "dangling"),
    "directory": _ignored("a directory with the name of a DATA file", PLAIN_NAME, "directory"),
}
OWN_FAULTS = tuple(kind for kind, fault in FILE_FAULTS.items() if not fault.beside)
BESIDE_FAULTS = tuple(kind for kind, fault in FILE_FAULTS.items() if fault.beside)
