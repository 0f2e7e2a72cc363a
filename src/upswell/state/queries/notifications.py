"""Notifications that a state keeps: all of them, those of a day, a file, a batch or a customer, and their counts.

Owns the SQL over ``notification`` and its totals. These rows have no checksums: reconciliation proves them by a replay
of the log. Rows come page by page, each a brief read, so that millions of them neither fill the memory nor hold up a
run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from upswell.output.names import Staged
from upswell.state.codec import decode_name, encode_name
from upswell.state.reader import StateReader
from upswell.zones import DAY_MAX

_PAGE_ROWS = 20_000  # of all notifications, read at once: some 20 ms
_GROUP_PAGE_ROWS = 5000  # of a group, joined with their files, gone through at once: some 20 ms

Row = tuple[int, str, str, int, int, bytes, bool]
"""A notification: day, application, msisdn, sequence of its range, byte and raw line, and is it of the control group?

A plain tuple, as millions of them are compared with those of a replay.
"""


class NotificationGroup(NamedTuple):
    """The notifications of one day and application, which lie together in the database."""

    day: int
    application: int
    """Its id."""
    name: str
    directory: str
    notifications: int
    """Counted when they were committed, so those that were pruned or forgotten since are included."""


class ListedNotification(NamedTuple):
    """One notification of a group, with its place in DATA and its batch."""

    msisdn: str
    batch: int
    file: str
    """Empty when the log, or that file's row, is gone."""
    byte: int
    """Where its line begins in the file, uncompressed."""
    stamp: str
    """That of its batch; empty when the batch's row is gone."""
    raw: bytes
    """The record without its line end."""


class CustomerNotification(NamedTuple):
    """A notification of one customer, on a day and for an application that the caller knows."""

    batch: int
    file: str
    """``?`` when the log, or that file's row, is gone."""
    byte: int
    raw: bytes
    control: bool


class NotificationTotal(NamedTuple):
    """The number of notifications of a day and an application, as each commit adds them up."""

    day: int
    application: int
    """Its id."""
    notifications: int


def notifications(
    reader: StateReader, names: Mapping[int, str], day: int | None = None
) -> Iterator[tuple[int, Row]]:
    """Yield (batch, row) of every notification that is kept, of a day or of all, by day, application and msisdn.

    ``names``: the applications by id; the name of one that is missing there is ``?``.
    """
    sql = (
        "SELECT day, application, msisdn, batch, sequence, byte, raw, control FROM notification"
        " WHERE (day, application, msisdn) > (?, ?, ?) AND day <= ?"
        f" ORDER BY day, application, msisdn LIMIT {_PAGE_ROWS}"
    )
    after: tuple[object, ...] = (day or -1, -1, "")
    while rows := reader._rows(sql, (*after, day or DAY_MAX)):
        for of_day, application, msisdn, batch, sequence, byte, raw, control in rows:
            name = names.get(application, "?")
            yield batch, (of_day, name, msisdn, sequence, byte, raw, bool(control))
        after = rows[-1][:3]


def count_notified(
    reader: StateReader, day: int | None = None, *, control: bool = False
) -> dict[str, int]:
    """Return the notifications by application, of one day or of all; applications without any are absent.

    With ``control`` those of the control group instead.
    """
    sql = (
        f"SELECT name AS application_name, sum(lines) FROM {_totals(control)} JOIN application ON id = application"
        " WHERE ?1 IS NULL OR day = ?1 GROUP BY name ORDER BY name"
    )
    return dict(reader._rows(sql, (day,)))


def notified_days(reader: StateReader) -> list[int]:
    """Return the days that have notifications, ascending."""
    return [day for (day,) in reader._rows("SELECT DISTINCT day FROM notified_total ORDER BY day")]


def notification_totals(reader: StateReader, *, control: bool = False) -> list[NotificationTotal]:
    """Return the notifications counted by day and application; with ``control`` those of the control group."""
    rows = reader._rows(f"SELECT day, application, lines FROM {_totals(control)}")
    return [NotificationTotal(*row) for row in rows]


def notification_groups(
    reader: StateReader,
    *,
    day: int | None = None,
    application: str | None = None,
    batch: int | None = None,
    control: bool = False,
) -> list[NotificationGroup]:
    """Return the groups that may hold what is asked for, by day and application.

    Args:
        reader: of the state.
        day: only of this day, yyyymmdd.
        application: only of the application of this name.
        batch: only of applications for which this batch staged a file; the counts are of all batches.
        control: return groups of the control group instead of those that were sent.
    """
    sql = (
        f"SELECT day, id, name AS application_name, directory, lines FROM {_totals(control)}"
        " JOIN application ON id = application"
        " WHERE (?1 IS NULL OR day = ?1) AND (?2 IS NULL OR name = ?2)"
        " AND (?3 IS NULL OR id IN (SELECT application FROM staged WHERE batch = ?3)) ORDER BY day, name"
    )
    return [NotificationGroup(*row) for row in reader._rows(sql, (day, application, batch))]


def notifications_in(
    reader: StateReader,
    group: NotificationGroup,
    *,
    batch_max: int,
    file: str | None = None,
    batch: int | None = None,
    control: bool = False,
) -> Iterator[ListedNotification]:
    """Yield the notifications of a group up to batch ``batch_max``, by msisdn.

    With ``file`` or ``batch`` only of that file or batch; with ``control`` those of the control group instead.
    """
    sql = (
        "SELECT msisdn, one.batch, file.name, byte, batch.stamp, raw FROM notification AS one"
        " LEFT JOIN batch ON batch.number = one.batch"
        " LEFT JOIN log ON log.batch = one.batch AND log.sequence = one.sequence LEFT JOIN file ON file.id = log.file"
        " WHERE day = ?1 AND application = ?2 AND msisdn > ?3 AND msisdn <= ?4 AND one.batch <= ?5"
        " AND (?6 IS NULL OR file.name = ?6) AND (?7 IS NULL OR one.batch = ?7) AND control = ?8 ORDER BY msisdn"
    )
    only = (batch_max, None if file is None else encode_name(file), batch, int(control))
    for page in _pages(reader, group):
        for msisdn, number, name, byte, stamp, raw in reader._rows(sql, (*page, *only)):
            place = "" if name is None else decode_name(name)
            yield ListedNotification(msisdn, number, place, byte, stamp or "", raw)


def notifications_by_minute(reader: StateReader, group: NotificationGroup) -> Counter[str]:
    """Return how many notifications of a group were sent, by the minute of their records: yyyyMMddHHmm in DATA's zone.

    Goes through all of them. Those of the control group are not counted.
    """
    # The timestamp ends the record, perhaps in quotes.
    sql = (
        "SELECT substr(rtrim(CAST(raw AS TEXT), '\"'), -14, 12), count(*) FROM notification"
        " WHERE day = ? AND application = ? AND msisdn > ? AND msisdn <= ? AND control = 0 GROUP BY 1"
    )
    found = Counter[str]()
    for page in _pages(reader, group):
        found.update(dict(reader._rows(sql, page)))
    return found


def staged_content(reader: StateReader, one: Staged) -> bytes:
    """Return the content of a staged file, rebuilt from the notifications. It reads them all: for repairs."""
    sql = "SELECT raw FROM notification WHERE batch = ? AND application = ? AND control = ? ORDER BY sequence, byte"
    rows = reader._rows(sql, (one.batch, one.application, int(one.control)))
    return b"".join(raw + b"\n" for (raw,) in rows)


def notifications_of(
    reader: StateReader, msisdn: str, *, day: int, application: int, batch_max: int
) -> list[CustomerNotification]:
    """Return a customer's notifications of a day for an application (its id), up to a batch.

    Those of the control group are included.
    """
    rows = reader._rows(
        "SELECT notification.batch, name, byte, raw, control FROM notification"
        " LEFT JOIN log USING(batch, sequence) LEFT JOIN file ON file.id = log.file"
        " WHERE day = ? AND application = ? AND msisdn = ? AND notification.batch <= ?",
        (day, application, msisdn, batch_max),
    )
    return [
        CustomerNotification(batch, decode_name(file or "?"), byte, raw, bool(control))
        for batch, file, byte, raw, control in rows
    ]


def _totals(control: bool) -> str:
    """Return the table of totals."""
    return "control_total" if control else "notified_total"


def _pages(reader: StateReader, group: NotificationGroup) -> Iterator[tuple[int, int, str, str]]:
    """Yield (day, application, msisdn before the first, last msisdn) of each page of a group.

    A page is bounded by the rows that it goes through, not by those that are wanted: a rare file must not make a read
    long.
    """
    sql = (
        "SELECT max(msisdn) FROM (SELECT msisdn FROM notification WHERE day = ? AND application = ? AND msisdn > ?"
        f" ORDER BY msisdn LIMIT {_GROUP_PAGE_ROWS})"
    )
    after = ""
    while (last := reader._rows(sql, (group.day, group.application, after))[0][0]) is not None:
        yield group.day, group.application, after, last
        after = last
