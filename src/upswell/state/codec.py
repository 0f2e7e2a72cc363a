"""Encodings of values in a row: names that are not UTF-8, unsigned numbers, and the checksum of a row.

Owns these encodings; it never runs a query. A value decodes to the value that was encoded.
"""

import os
import zlib


def row_checksum(*values: object) -> int:
    """Return a checksum of a row's values: SQLite checks the structure of its pages, but not the values in them."""
    crc, parts = 0, list[bytes]()
    for value in values:
        if isinstance(value, bytes):
            # Blobs of the ledger can have many megabytes: neither their repr nor a copy is made.
            crc = zlib.crc32(value, zlib.crc32(b"".join((*parts, b"%d," % len(value))), crc))
            parts.clear()
        else:
            content = repr(value).encode("utf-8", "backslashreplace")
            parts += (b"%d," % len(content), content)
    return zlib.crc32(b"".join(parts), crc)


def storable_text(text: str) -> str:
    """Return the text in a form that the database can hold, whatever file name is quoted in it."""
    return text.encode("utf-8", "backslashreplace").decode()


def encode_name(name: str) -> str | bytes:
    """Return a file's name as stored: text, or bytes when it is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def decode_name(stored: str | bytes) -> str:
    """Return the name that ``encode_name`` was given."""
    return stored if isinstance(stored, str) else os.fsdecode(stored)


def to_signed(value: int) -> int:
    """Return an unsigned 64-bit number as the signed one that SQLite stores."""
    return value - (1 << 64) if value >= 1 << 63 else value


def to_unsigned(value: int) -> int:
    """Return the number that ``to_signed`` was given."""
    return value & (1 << 64) - 1
