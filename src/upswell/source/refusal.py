"""Why all of a file was refused: its likely cause, from its first bytes.

Owns the list of causes and their words. It opens nothing and decides nothing: a cause is a guess for the producer, in
words, and the lines are refused whatever it says.
"""

import re
from collections import Counter

CAUSE_BYTES = 4096
_LINES_MAX = 20
_FIELDS = 4
_ARCHIVES = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\xfd7zXZ\x00", "xz data"),
    (0, b"\x04\x22\x4d\x18", "lz4 data"),
    (0, b"\xff\x06\x00\x00sNaPpY", "snappy data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (0, b"\x1f\x9d", "the data of compress"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"ORC", "an ORC file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"%PDF", "a PDF"),
    (257, b"ustar", "a tar archive"),
)
_UNPACK = "deliver the plain lines, or gzip of them as DATA_yyyyMMddHHmm.csv.gz"
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_SEPARATORS = (
    (b";", "semicolons"),
    (b"\t", "tabs"),
    (b"|", "vertical bars"),
    (b"\x01", "the control character 01"),
    (b" ", "blanks"),
)
_PAGE = re.compile(rb"<(!doctype html|html|head|body)\b", re.IGNORECASE)
_TEXT = re.compile(rb"[\t\n\r\x01\x20-\x7e\x80-\xff]")
_EBCDIC = re.compile(rb"[\xf0-\xf9\x6b\x15\x25\x0d]")
_TEXT_SHARE = 0.9
_WIDE_SHARE = 0.2


def likely_cause(head: bytes) -> str:
    """Return why no line of a file that begins with these bytes is a record, and what to deliver; "" when unknown."""
    if not head:
        return ""
    return _kind(head) or _layout(head)


def _kind(head: bytes) -> str:
    """Return the cause when the bytes are not lines of text at all."""
    for at, magic, what in _ARCHIVES:
        if head.startswith(magic, at):
            return f"it is {what}: {_UNPACK}"
    if not head.strip(b"\0"):
        return "it begins with NUL bytes alone: its copy is not complete, deliver it again"
    if head.startswith(_WIDE) or head.count(b"\0") >= len(head) * _WIDE_SHARE:
        return "it is UTF-16: deliver it as UTF-8"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _PAGE.match(text):
        return "it is an HTML page, perhaps the error page of a server or proxy: fetch it again"
    for mark, what in ((b"<", "XML"), (b"{", "JSON"), (b"[", "JSON")):
        if text.startswith(mark):
            return f"it is {what}: deliver lines of four fields with commas"
    if len(_EBCDIC.findall(head)) >= len(head) * _TEXT_SHARE:
        return "it is EBCDIC: deliver it as ASCII"
    if len(_TEXT.findall(head)) < len(head) * _TEXT_SHARE:
        return "it is not text: deliver lines of four fields with commas"
    return ""


def _layout(head: bytes) -> str:
    """Return the cause when the bytes are text whose lines are laid out otherwise than records."""
    if b"\r" in head[:-1] and b"\n" not in head:
        return "its line ends are CR alone: deliver LF, or CR and LF"
    lines = [line for line in head.splitlines()[:_LINES_MAX] if re.search(rb"[0-9]", line)]
    if not lines:
        return ""
    fields, _ = Counter(line.count(b",") + 1 for line in lines).most_common(1)[0]
    if fields < _FIELDS:
        for separator, what in _SEPARATORS:
            separated = sum(line.count(separator) >= _FIELDS - 1 for line in lines)
            if 2 * separated > len(lines):
                return f"its fields are separated by {what}: deliver commas"
    if fields != _FIELDS:
        count = "1 field" if fields == 1 else f"{fields} fields"
        return f"its lines have {count}: deliver four, msisdn,service,volume,timestamp"
    if any(line.count(b", ") or line.count(b" ,") for line in lines):
        return "blanks stand beside its commas: deliver it without them"
    return ""
