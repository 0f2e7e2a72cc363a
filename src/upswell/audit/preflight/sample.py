"""Samples DATA before a run: parses the first bytes of a few files, and counts.

Owns the choice of files and the counts: rejects by reason, msisdns in the segment, the form of the others, services,
records that miss their hours. It applies nothing, and keeps no msisdn except in examples, which are masked when made.
"""

import io
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from upswell.engine.other_forms import OtherForms
from upswell.kernel import PATHS, Segment, parse_lines
from upswell.privacy import escape, mask, mask_line, show_format
from upswell.reference.rules import Rule
from upswell.source.header import describe_other_order, read_first_line
from upswell.source.listing import read_at
from upswell.source.refusal import CAUSE_BYTES, likely_cause
from upswell.zones import Zones, day_max_of

FILES_MAX = 5
HEAD_BYTES = 1 << 20
_GZIP = 31  # zlib's way to ask for a gzip header
_NO_REJECTS = ("record", "blank", "header")


@dataclass(slots=True)
class Sample:
    """Counts over the sampled lines, with examples."""

    files: list[str] = field(default_factory=list)
    lines: int = 0
    records: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """By reject reason: "DATA_….csv:12: the line", masked."""
    matched: int = 0
    """Records whose msisdn is in the segment."""
    without_zero: int = 0
    """Records that would match without their leading zero: the segment has lost it."""
    with_zero: int = 0
    """Records that would match with one more leading zero: DATA has lost it."""
    other_forms: OtherForms = field(default_factory=OtherForms)
    """Msisdns that would be in the segment in another form."""
    formats: Counter[str] = field(default_factory=Counter)
    """Forms of the msisdns that are not in the segment."""
    zero_format: str = ""
    """Form of the first msisdn that would match with one zero more or less."""
    services: Counter[int] = field(default_factory=Counter)
    """Of records in the segment."""
    outside_over: int = 0
    """Records in the segment that exceed a threshold of their service alone, but lie outside all its windows."""
    outside_example: str = ""
    other_order: dict[str, str] = field(default_factory=dict)
    """By file that a run would hold: how its first line names other columns than are read."""
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By file of which no line is a record: its refused lines, and the likely cause."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """By file: why it could not be read."""


def take_sample(
    data: Path,
    names: Sequence[tuple[str, str]],
    segment: Segment | None,
    rules: Sequence[Rule],
    zones: Zones,
) -> Sample:
    """Sample some of the files ``names``, (stamp, name) each: the oldest, the newest and a few between.

    A file that cannot be read is noted in the sample; nothing is raised for it.
    """
    sample = Sample()
    by_service: dict[int, list[Rule]] = {}
    for rule in rules:
        by_service.setdefault(rule.service, []).append(rule)
    for stamp, name in _spread(sorted(names)):
        try:
            head = _head(data / name)
        except (OSError, zlib.error) as error:
            sample.unreadable[escape(name)] = getattr(error, "strerror", None) or str(error)
            continue
        if other_order := describe_other_order(read_first_line(io.BytesIO(head)).content):
            sample.other_order[escape(name)] = other_order
            continue
        sample.files.append(escape(name))
        records, rejects = sample.records, sample.rejects.total()
        _count(sample, head, escape(name), stamp, segment, by_service, zones)
        refused = sample.rejects.total() - rejects
        if refused and sample.records == records:
            sample.refused[escape(name)] = refused, likely_cause(head[:CAUSE_BYTES])
    return sample


def _spread(names: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return at most FILES_MAX of the names, evenly spaced, the first and the last included."""
    if len(names) <= FILES_MAX:
        return names
    return [names[at * (len(names) - 1) // (FILES_MAX - 1)] for at in range(FILES_MAX)]


def _head(path: Path) -> bytes:
    """Return the whole lines within the file's first bytes, uncompressed.

    Raises OSError, and zlib.error for broken compressed data.
    """
    raw = read_at(os.fsencode(path), 0, HEAD_BYTES)
    whole = len(raw) < HEAD_BYTES
    if path.suffix == ".gz":
        unpacker = zlib.decompressobj(_GZIP)
        raw = unpacker.decompress(raw, HEAD_BYTES)
        whole = unpacker.eof
    return raw if whole else raw[: raw.rfind(b"\n") + 1] or raw


def _count(
    sample: Sample,
    head: bytes,
    name: str,
    stamp: str,
    segment: Segment | None,
    rules: dict[int, list[Rule]],
    zones: Zones,
) -> None:
    """Parse the lines ``head`` of a file and add them to the sample."""
    lines = head.split(b"\n")
    msisdns: list[str] = []
    for number, parsed in enumerate(parse_lines(head, day_max_of(stamp), PATHS[0], first=True), 1):
        kind, msisdn, service, volume, timestamp = parsed
        sample.lines += 1
        if kind not in _NO_REJECTS:
            sample.rejects[kind] += 1
            if kind not in sample.examples:
                shown = mask_line(lines[number - 1].removesuffix(b"\r"))
                sample.examples[kind] = f"{name}:{number}: {shown}"
        if kind != "record":
            continue
        sample.records += 1
        if segment is None:
            continue
        msisdns.append(msisdn)
        if msisdn not in segment:
            _note_form(sample, msisdn, segment)
            continue
        sample.matched += 1
        sample.services[service] += 1
        of_service = rules.get(service)
        if of_service and volume > min(rule.threshold for rule in of_service):
            _note_hours(sample, f"{name}:{number}", msisdn, volume, timestamp, of_service, zones)
    if segment is not None:
        sample.other_forms.add(msisdns, segment)


def _note_form(sample: Sample, msisdn: str, segment: Segment) -> None:
    sample.formats[show_format(msisdn)] += 1
    without = msisdn.startswith("0") and msisdn[1:] in segment
    with_one = "0" + msisdn in segment
    sample.without_zero += without
    sample.with_zero += with_one
    if without or with_one:
        sample.zero_format = sample.zero_format or show_format(msisdn)


def _note_hours(
    sample: Sample,
    where: str,
    msisdn: str,
    volume: int,
    timestamp: str,
    rules: list[Rule],
    zones: Zones,
) -> None:
    local = datetime.strptime(timestamp, "%Y%m%d%H%M%S")  # noqa: DTZ007 - a local time of the data's zone
    minute = zones.convert(local).minute
    if any(rule.covers(minute) for rule in rules):
        return
    sample.outside_over += 1
    if not sample.outside_example:
        windows = ", ".join(rule.window() for rule in rules)
        sample.outside_example = (
            f"{where}: {mask(msisdn)} used {volume:,} of {escape(rules[0].application)} at {local:%H:%M}"
            f" ({minute // 60}:{minute % 60:02} in the rules' zone {zones.rules}), its hours are {windows}"
        )
