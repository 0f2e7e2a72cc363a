"""Questions to a state that several wings ask.

Owns their SQL. Reads through a reader and keeps nothing; a caller that needs one moment takes a snapshot around them.
"""

from collections.abc import Iterator, Mapping, Sequence

from upswell.reference.loading import unpack_rules
from upswell.reference.rules import Ruleset, parse_rules
from upswell.state.codec import decode_name, encode_name
from upswell.state.reader import StateReader
from upswell.state.rows import Archived
from upswell.zones import DAY_MAX


def open_rows(reader: StateReader, rows_max: int = -1, after: str = "") -> dict[str, Archived]:
    """By name, the files that are on their way to the archive, or held on it: so many after this name, or all."""
    rows = reader.rows(
        "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        # The plus keeps SQLite from going through all names.
        " WHERE archived.state <> 'moved' AND +name > ? ORDER BY name LIMIT ?",
        (encode_name(after), rows_max),
    )
    return {decode_name(name): state for name, state in rows}


def newest_archived(reader: StateReader, files_max: int) -> dict[str, Archived]:
    """By name, so many of the newest files in the archive."""
    rows = reader.rows(
        "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        " WHERE archived.state = 'moved' ORDER BY archived.file DESC LIMIT ?",
        (files_max,),
    )
    return {decode_name(name): state for name, state in rows}


def archive_states(reader: StateReader, names: Sequence[str]) -> dict[str, Archived]:
    """How far these files are on their way; without those that are not on it any more."""
    marks = ",".join("?" * len(names))
    rows = reader.rows(
        "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        f" WHERE name IN ({marks})",
        [encode_name(name) for name in names],
    )
    return {decode_name(name): state for name, state in rows}


def archived_files(reader: StateReader) -> int:
    """How many files were moved to the archive, and not taken out of it by a move back that a run has seen."""
    ((files,),) = reader.rows("SELECT count(*) FROM archived WHERE state IN ('moved', 'grew')")
    return int(files)


def rulesets(reader: StateReader) -> Iterator[Ruleset]:
    """Every version of the rules that is kept, in the order in which they were first taken."""
    for one in reader.references():
        if one.kind == "rules":
            yield parse_rules(unpack_rules(reader.reference("rules", one.version)))


Row = tuple[int, str, str, int, int, bytes, bool]
"""Day, application, msisdn, sequence of the range, byte and raw line of a notification; is it of the control group?"""


_PAGE_ROWS = 20_000  # read at once: some 20 ms


def notifications(
    reader: StateReader, names: Mapping[int, str], day: int | None = None
) -> Iterator[tuple[int, Row]]:
    """Every notification that the state keeps, with its batch: of a day, or all. ``names``: applications by id."""
    sql = (
        "SELECT day, application, msisdn, batch, sequence, byte, raw, control FROM notification"
        " WHERE (day, application, msisdn) > (?, ?, ?) AND day <= ?"
        f" ORDER BY day, application, msisdn LIMIT {_PAGE_ROWS}"
    )
    after: tuple[object, ...] = (day or -1, -1, "")
    while rows := reader.rows(sql, (*after, day or DAY_MAX)):
        for of_day, application, msisdn, batch, sequence, byte, raw, control in rows:
            name = names.get(application, "?")
            yield batch, (of_day, name, msisdn, sequence, byte, raw, bool(control))
        after = rows[-1][:3]
