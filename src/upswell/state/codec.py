"""How values are kept in a row: names that are not UTF-8, unsigned numbers, and a checksum of each row.

Owns these encodings; runs no query. What was encoded decodes to the same value.
"""

import os
import zlib


def row_checksum(*values: object) -> int:
    """A checksum of a row's values: SQLite checks its pages' structure, but not the values in them."""
    crc, parts = 0, list[bytes]()
    for value in values:
        if isinstance(value, bytes):
            # They can be many megabytes of the ledger: neither their repr nor a copy is made.
            crc = zlib.crc32(value, zlib.crc32(b"".join((*parts, b"%d," % len(value))), crc))
            parts.clear()
        else:
            content = repr(value).encode("utf-8", "backslashreplace")
            parts += (b"%d," % len(content), content)
    return zlib.crc32(b"".join(parts), crc)


def encode_name(name: str) -> str | bytes:
    """A file's name as stored: text, or bytes when it is no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def decode_name(stored: str | bytes) -> str:
    """The name that ``encode_name`` was given."""
    return stored if isinstance(stored, str) else os.fsdecode(stored)


def to_signed(value: int) -> int:
    """An unsigned 64-bit number as SQLite's signed one."""
    return value - (1 << 64) if value >= 1 << 63 else value


def to_unsigned(value: int) -> int:
    """The number that ``to_signed`` was given."""
    return value & (1 << 64) - 1
