"""Lists, filters and counts the notifications of a state, during a run or after it.

Owns what ``upswell sent`` prints. It changes nothing and holds nothing open: rows come page by page, so that millions
of them neither fill the memory nor hold up a run. An answer is as of its first read: later commits are left out, and
what was committed before can only lose old days, which are pruned, and customers, who are forgotten. A row that
contradicts the rest of the state is listed like the others, and the list then ends with the error of a damaged state.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from upswell.errors import UsageError
from upswell.output.names import place_of, published_name
from upswell.privacy import escape, mask_digits
from upswell.reference.segment import parse_msisdn, unquote
from upswell.state.queries.forgotten import forgotten_lines
from upswell.state.queries.notifications import (
    NotificationGroup,
    notification_groups,
    notifications_by_minute,
    notifications_in,
)
from upswell.state.queries.rules import rulesets
from upswell.state.reader import StateReader

_NAMES_MAX = 20  # in a message


class SentNotification(NamedTuple):
    """One notification: the record that was emitted, its place in DATA and its file in OUTPUT."""

    day: int
    """In the rules' time zone, yyyymmdd."""
    application: str
    msisdn: str
    batch: int
    file: str
    """In DATA; empty when the log, or that file's row, is gone."""
    byte: int
    """Where its line begins in the file, uncompressed."""
    output: str
    """The file that it was published in, relative to OUTPUT; empty when the batch's row is gone."""
    raw: bytes
    """The record without its line end."""

    @property
    def unsound(self) -> bool:
        """True when its places are lost or the record is another customer's: no run wrote it so."""
        dial = parse_msisdn(unquote(self.raw.partition(b",")[0]))
        return dial != self.msisdn or not (self.file and self.output)


class SentFilter(NamedTuple):
    """Selects notifications; None selects all."""

    day: int | None = None
    application: str | None = None
    file: str | None = None
    batch: int | None = None
    control: bool = False
    """Select those of the control group, which were not sent, instead of those that were."""


def rows(state_dir: Path, wanted: SentFilter) -> Iterator[SentNotification]:
    """Yield the notifications that are wanted, by day, then application, then msisdn.

    Raises:
        StorageError: there is no state, or it is damaged; raised at the end when a row is unsound.
        UsageError: the state never had that application, or that file.
    """
    unsound = 0
    with StateReader.open(state_dir) as reader:
        if wanted.file is not None:
            reader.file(wanted.file)
        last, before = reader.last_batch(), reader.pruned_before()
        # A day that is being pruned may still have some rows: they are no longer kept, so they are not shown.
        for group in (group for group in _groups(reader, wanted) if group.day >= before):
            for row in _rows_of(reader, group, wanted, last):
                unsound += row.unsound
                yield row
        if unsound:
            what = "have lost their place in DATA or OUTPUT, or carry another msisdn than their records"
            raise reader.damaged(f"{unsound:,} of its notifications {what}")


def counts(state_dir: Path, wanted: SentFilter) -> dict[tuple[int, str], int]:
    """Return the notifications counted by day and application, ascending; groups without any are absent.

    Without a file or a batch in the filter this reads the sums that each commit keeps. Raises as ``rows``.
    """
    if wanted.file is None and wanted.batch is None:
        with StateReader.open(state_dir) as reader:
            return {
                (group.day, group.name): group.notifications for group in _groups(reader, wanted)
            }
    return dict(Counter((row.day, row.application) for row in rows(state_dir, wanted)))


def forgotten(state_dir: Path, wanted: SentFilter) -> int:
    """Return how many notifications in ``counts`` are not listed because their customers were forgotten."""
    if wanted.file is not None or wanted.batch is not None:
        return 0  # what is listed was counted
    with StateReader.open(state_dir) as reader:
        before = reader.pruned_before()
        groups = {
            (group.day, group.application)
            for group in _groups(reader, wanted)
            if group.day >= before
        }
        return sum(
            one.lines
            for one in forgotten_lines(reader)
            if (one.day, one.application) in groups and one.control == wanted.control
        )


def pruned(state_dir: Path, wanted: SentFilter) -> int:
    """Return how many notifications in ``counts`` are not listed because their days are pruned."""
    if wanted.file is not None or wanted.batch is not None:
        return 0
    with StateReader.open(state_dir) as reader:
        before = reader.pruned_before()
        return sum(group.notifications for group in _groups(reader, wanted) if group.day < before)


def to_json(state_dir: Path, wanted: SentFilter) -> dict[str, object]:
    """Return ``counts``, ``forgotten`` and ``pruned`` as one object. Raises as ``rows``."""
    found = counts(state_dir, wanted)
    return {
        "notifications": sum(found.values()),
        "forgotten": forgotten(state_dir, wanted),
        "pruned": pruned(state_dir, wanted),
        "groups": [
            {"day": day, "application": application, "notifications": n}
            for (day, application), n in found.items()
        ],
    }


def minutes(state_dir: Path, day: int, application: str) -> Counter[str]:
    """Return the notifications of a day and application, counted by the minute of their records.

    Minutes are yyyyMMddHHmm in DATA's time zone. Reads every row of the group, page by page; rows that are pruned or
    forgotten are not counted. Raises as ``rows``.
    """
    found = Counter[str]()
    with StateReader.open(state_dir) as reader:
        before = reader.pruned_before()
        # Of a day that is being pruned only some rows are left: their counts would be wrong.
        for group in _groups(reader, SentFilter(day, application)):
            if group.day >= before:
                found.update(notifications_by_minute(reader, group))
    return found


def _rows_of(
    reader: StateReader, group: NotificationGroup, wanted: SentFilter, last: int
) -> Iterator[SentNotification]:
    directory = place_of(group.directory, wanted.control)
    for row in notifications_in(
        reader, group, batch_max=last, file=wanted.file, batch=wanted.batch, control=wanted.control
    ):
        output = f"{directory}/{published_name(row.batch, row.stamp)}" if row.stamp else ""
        yield SentNotification(
            group.day, group.name, row.msisdn, row.batch, row.file, row.byte, output, row.raw
        )


def _groups(reader: StateReader, wanted: SentFilter) -> list[NotificationGroup]:
    """Return the days and applications that may hold what is wanted. Raises UsageError for an unknown application."""
    name = wanted.application and unicodedata.normalize("NFC", wanted.application)
    if name is not None and name not in reader.applications():
        known = _known_applications(reader)
        if name in known:
            return []
        some = ", ".join(escape(each) for each in sorted(known)[:_NAMES_MAX])
        raise UsageError(
            f"this state never had an application '{mask_digits(name)}'",
            f"it knows {some}" if some else "it has no rules yet",
        )
    return notification_groups(
        reader,
        day=wanted.day,
        application=name,
        batch=wanted.batch,
        control=wanted.control,
    )


def _known_applications(reader: StateReader) -> set[str]:
    """Return every application that was notified or that a kept version of RULES names."""
    return set(reader.applications()).union(*(each.applications() for each in rulesets(reader)))
