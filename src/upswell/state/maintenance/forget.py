"""Removing a person from a state, and saying where their dial still stands.

Owns what ``upswell state forget`` does around ``erase``: whom, until when their records are suppressed, and the search
for what is not ours to change: DATA and its archive, SEGMENT, OUTPUT, an exported file, and the kept versions, which
the log names by their content. It needs the state to itself while it removes, not while it
searches. No msisdn is in anything that it gives back.
"""

import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from upswell.config.settings import threads_default
from upswell.errors import ConfigError, InputMissing, UpswellError, UsageError
from upswell.kernel import SHARDS, Segment, count_lines, forget_in
from upswell.output.names import STAGING, parse_staged
from upswell.output.published import files
from upswell.output.reject_files import unescape
from upswell.privacy import escape
from upswell.reference.files import read_segment
from upswell.reference.keyed_hash import KEY_BYTES, keyed_hash
from upswell.reference.segment import numbers, parse_msisdn
from upswell.source.listing import list_directory, read_name, show_name
from upswell.state.checkpoint import Checkpoint
from upswell.state.connection import connect, storage_errors
from upswell.state.identity import StateIdentity
from upswell.state.maintenance.erase import Erased, Eraser
from upswell.state.maintenance.transfer import half_of
from upswell.state.reader import StateReader
from upswell.storage.files import directory, directory_inside, read_file
from upswell.zones import day_last_of

_DAY = re.compile(r"[0-9]{8}")  # a directory of the archive


@dataclass(slots=True)
class Removal:
    """What was removed, and what is left for others to do."""

    people: int
    erased: Erased
    until_day: int
    """Their records are suppressed while this day is open, of some perhaps longer; 0: no day has begun yet."""
    stands: list[str] = field(default_factory=list)
    """Where a dial of them still stands, a sentence each."""
    unknown: list[str] = field(default_factory=list)
    """Where could not be looked, a sentence each."""

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {
            "people": self.people,
            "removed": self.erased._asdict(),
            "until_day": self.until_day or None,
            "stands": self.stands,
            "unknown": self.unknown,
        }


def forget(state_dir: Path, given: Sequence[str], *, data: Path | None = None) -> Removal:
    """Remove customers from a state whose run is stopped. Killed anywhere, the same again completes it.

    Args:
        state_dir: the state's directory.
        given: msisdns of 5 to 15 digits, with or without a leading ``+``.
        data: where the files are, if they were moved.

    Raises:
        UsageError: one is no msisdn, or there is none. Locked: a run holds the state, or a reader keeps what was
        removed in its files. ConfigError: notifications wait to be published or removed.
        StorageError: there is no state, it is damaged, or the disk fails.
    """
    msisdns = sorted({_parse(text) for text in given})
    if not msisdns:
        raise UsageError("whom?", "give a msisdn, or - and one a line on stdin")
    StateReader.open(state_dir).close()  # a state that is not there must not be made
    with Checkpoint.open(state_dir, SHARDS) as checkpoint:
        state, eraser = checkpoint.reader, Eraser(checkpoint)
        identity, last = state.identity(), state.last()
        _refuse_waiting(state, identity)
        until_day = day_last_of(last.newest_stamp, identity.zones) if last else 0
        erased = eraser.erase(msisdns, until_day)
        found = Removal(len(msisdns), erased, eraser.suppressed_until(msisdns))
    # What follows may take long, and changes nothing: a run may go on meanwhile.
    looking = _Looking(found, msisdns)
    if output := identity.output_of(state_dir):
        looking.through_output(output)
    if data := data or identity.data:
        looking.through_data(data)
    known = identity.archives
    for archive in known:
        # Of several the word alone would not say which.
        looking.through_archive("ARCHIVE" if len(known) == 1 else escape(str(archive)), archive)
    for name, path in (("SEGMENT", identity.segment), ("SUPPRESS", identity.suppress)):
        if path:
            looking.through_dials(name, path)
    with StateReader.open(state_dir) as reader:
        looking.through_versions(reader)
    for file in identity.exported:
        looking.through_export(file)
        looking.through_export(half_of(file))
    return found


def _parse(text: str) -> str:
    msisdn = parse_msisdn(text.strip().encode("utf-8", "replace"))
    if msisdn is None:
        raise UsageError(
            "that is no msisdn", "write 5 to 15 digits, or - to read them from stdin, one a line"
        )
    return msisdn


def _refuse_waiting(state: StateReader, identity: StateIdentity) -> None:
    """A staged file could not be made again without the notifications that are to go.

    One of a batch that was never committed holds records, too, and only recovery may say what becomes of it.
    """
    own = identity.own_directory(state.state_dir)
    if own is None:
        return
    staging = own / STAGING
    with storage_errors(staging):
        names = [path.name for path in staging.iterdir()] if staging.is_dir() else []
    batches = [parsed.batch for name in names if (parsed := parse_staged(name)) is not None]
    if batches:
        first, last = state.first_batch(), state.last_batch()
        raise ConfigError(
            "notifications of the last batch still wait to be published"
            if any(first <= batch <= last for batch in batches)
            else "a run that was ended left notifications in its staging directory that no batch has",
            "start the run once, with --once: it publishes or removes them; then forget again",
        )


class _Looking:
    """The search for dials in what is not ours to change."""

    def __init__(self, found: Removal, msisdns: Sequence[str]) -> None:
        self._found = found
        self._msisdns = msisdns
        self._theirs = frozenset(map(str.encode, msisdns))

    def through_output(self, output: Path) -> None:
        """All notification files that are still there."""
        for place, _ in files(output):
            parent, _, name = place.rpartition("/")
            try:
                with directory(output) as output_fd, directory_inside(parent, output_fd) as fd:
                    content = read_file(name, fd)
            except OSError as error:
                self._missed(f"{output}/{place}", error.strerror)
                continue
            self._tell(f"OUTPUT/{place}", self._count(content))

    def through_data(self, data: Path) -> None:
        """All files of DATA, whether they were read or not."""
        self._through_files("DATA", data)

    def through_archive(self, where: str, archive: Path) -> None:
        """All files of the archive, which has a directory for each day."""
        try:
            days = sorted(path.name for path in archive.iterdir() if _DAY.fullmatch(path.name))
        except OSError as error:
            self._missed(str(archive), error.strerror)
            return
        for day in days:
            self._through_files(f"{where}/{day}", archive / day)

    def _through_files(self, where: str, place: Path) -> None:
        try:
            every = sorted(
                name for name, found in list_directory(bytes(place)) if S_ISREG(found.st_mode)
            )
        except InputMissing as error:
            self._missed(str(place), error.message)
            return
        names = [name for name in every if read_name(name)[0]]
        if others := len(every) - len(names):
            self._missed(
                f"{where}, {others:,} of its files", "their names are those of no DATA file"
            )
        with ThreadPoolExecutor(threads_default()) as pool:
            counts = pool.map(self._lines, (place / name for name in names))
            for name, found in zip(names, counts, strict=True):
                if isinstance(found, int):
                    self._tell(f"{where}/{show_name(name)}", found)
                else:
                    self._missed(f"{where}/{show_name(name)}", found)

    def _lines(self, path: Path) -> int | str | None:
        """How many lines of a file hold one of them, or why that cannot be known."""
        try:
            return count_lines(bytes(path), self._msisdns, compressed=path.suffix == ".gz")
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", str(error))

    def through_dials(self, what: str, path: Path) -> None:
        """SEGMENT or SUPPRESS, as they are now."""
        try:
            contents = read_segment(path)
        except UpswellError as error:
            self._missed(what, error.message)
            return
        for name, content in contents.files:
            dials, _ = Segment.parse([content])
            self._tell(f"{what}/{escape(name)}", sum(msisdn in dials for msisdn in self._msisdns))

    def through_versions(self, state: StateReader) -> None:
        """The versions of both that the state keeps."""
        for one in state.references():
            if one.kind in ("segment", "suppress"):
                dials = Segment.decode(state.reference(one.kind, one.version))
                self._tell(
                    f"the version {one.version[:12]} of {one.kind.upper()} that the state keeps for its log",
                    sum(msisdn in dials for msisdn in self._msisdns),
                )

    def through_export(self, file: Path) -> None:
        """A file that the state was written to, or was made of, or half of one, if it is still there."""
        if not file.exists():
            return
        key = secrets.token_bytes(KEY_BYTES)
        hashes = [keyed_hash(key, msisdn.encode()) for msisdn in self._msisdns]
        theirs = frozenset(self._msisdns)
        try:
            with storage_errors(file), closing(connect(file, "ro")) as db:
                rows = db.execute("SELECT msisdn FROM notification")
                times = sum(msisdn in theirs for (msisdn,) in rows)
                for (content,) in db.execute("SELECT content FROM reject_file"):
                    times += self._count(unescape(content))
                for (content,) in db.execute("SELECT content FROM ledger_base"):
                    times += forget_in(content, key, hashes) is not None
        except (UpswellError, ValueError) as error:
            self._missed(str(file), getattr(error, "message", str(error)))
            return
        self._tell(f"the exported file {escape(str(file))}", times)

    def _count(self, content: bytes) -> int:
        """How often they stand in some bytes."""
        return sum(number in self._theirs for number in numbers(content))

    def _tell(self, where: str, times: int) -> None:
        if times:
            self._found.stands.append(f"{where}: {'once' if times == 1 else f'{times:,} times'}")

    def _missed(self, where: str, why: str | None) -> None:
        self._found.unknown.append(f"{escape(where)}: {escape(why or 'cannot be read')}")
