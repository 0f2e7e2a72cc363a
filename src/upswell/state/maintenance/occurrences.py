"""Finds where msisdns still occur outside of a state, in files that forgetting must not change.

Owns the search through DATA and its archives, SEGMENT, SUPPRESS, OUTPUT, exported files, and the versions that a state
keeps for its log. It changes nothing, and no msisdn is in what it finds.
"""

import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from stat import S_ISREG

from upswell.config.settings import threads_default
from upswell.errors import InputMissing, UpswellError
from upswell.kernel import Segment, count_lines, forget_in
from upswell.output.published import published_files
from upswell.output.reject_files import unescape
from upswell.privacy import escape
from upswell.reference.files import read_segment
from upswell.reference.keyed_hash import KEY_BYTES, keyed_hash
from upswell.reference.segment import numbers
from upswell.source.listing import list_directory, read_name, show_name
from upswell.state.connection import connect, storage_errors
from upswell.state.identity import StateIdentity
from upswell.state.maintenance.transfer import half_of
from upswell.state.reader import StateReader
from upswell.storage.files import directory, directory_inside, read_file

_DAY = re.compile(r"[0-9]{8}")  # a directory of the archive


class Search:
    """A search for some customers."""

    def __init__(self, msisdns: Sequence[str]) -> None:
        self.found: list[str] = []
        """Where one of them occurs, with how often, a sentence each."""
        self.unsearched: list[str] = []
        """What could not be searched, with the reason, a sentence each."""
        self._msisdns = msisdns
        self._encoded = frozenset(map(str.encode, msisdns))

    def search_all(self, state_dir: Path, identity: StateIdentity, data: Path | None) -> None:
        """Search everything that belongs to a state. ``data``: where the files of DATA are; None: nowhere."""
        if output := identity.output_of(state_dir):
            self._search_output(output)
        if data:
            self._search_files("DATA", data)
        for archive in identity.archives:
            # Of several the word alone would not say which.
            name = "ARCHIVE" if len(identity.archives) == 1 else escape(str(archive))
            self._search_archive(name, archive)
        for what, path in (("SEGMENT", identity.segment), ("SUPPRESS", identity.suppress)):
            if path:
                self._search_list(what, path)
        with StateReader.open(state_dir) as reader:
            self._search_versions(reader)
        for file in identity.exported:
            self._search_export(file)
            self._search_export(half_of(file))

    def _search_output(self, output: Path) -> None:
        """Search all notification files that are still in OUTPUT."""
        for place, _ in published_files(output):
            parent, _, name = place.rpartition("/")
            try:
                with directory(output) as output_fd, directory_inside(parent, output_fd) as fd:
                    content = read_file(name, fd)
            except OSError as error:
                self._note_unsearched(f"{output}/{place}", error.strerror)
                continue
            self._note_found(f"OUTPUT/{place}", self._count(content))

    def _search_archive(self, where: str, archive: Path) -> None:
        """Search all files of an archive, which has a directory for each day."""
        try:
            days = sorted(path.name for path in archive.iterdir() if _DAY.fullmatch(path.name))
        except OSError as error:
            self._note_unsearched(str(archive), error.strerror)
            return
        for day in days:
            self._search_files(f"{where}/{day}", archive / day)

    def _search_files(self, where: str, place: Path) -> None:
        """Search all files of a directory whose names are those of DATA files, whether they were consumed or not."""
        try:
            every = sorted(
                name for name, found in list_directory(bytes(place)) if S_ISREG(found.st_mode)
            )
        except InputMissing as error:
            self._note_unsearched(str(place), error.message)
            return
        names = [name for name in every if read_name(name)[0]]
        if others := len(every) - len(names):
            self._note_unsearched(
                f"{where}, {others:,} of its files", "their names are not those of DATA files"
            )
        with ThreadPoolExecutor(threads_default()) as pool:
            counts = pool.map(self._count_lines, (place / name for name in names))
            for name, found in zip(names, counts, strict=True):
                if isinstance(found, int):
                    self._note_found(f"{where}/{show_name(name)}", found)
                else:
                    self._note_unsearched(f"{where}/{show_name(name)}", found)

    def _count_lines(self, path: Path) -> int | str | None:
        """Return the number of lines of a file in which one of them occurs, or why that cannot be known."""
        try:
            return count_lines(bytes(path), self._msisdns, compressed=path.suffix == ".gz")
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", str(error))

    def _search_list(self, what: str, path: Path) -> None:
        """Search SEGMENT or SUPPRESS, as they are now."""
        try:
            contents = read_segment(path)
        except UpswellError as error:
            self._note_unsearched(what, error.message)
            return
        for name, content in contents.files:
            listed, _ = Segment.parse([content])
            times = sum(msisdn in listed for msisdn in self._msisdns)
            self._note_found(f"{what}/{escape(name)}", times)

    def _search_versions(self, reader: StateReader) -> None:
        """Search the versions of SEGMENT and SUPPRESS that the state keeps."""
        for one in reader.references():
            if one.kind in ("segment", "suppress"):
                listed = Segment.decode(reader.reference(one.kind, one.version))
                self._note_found(
                    f"the version {one.version[:12]} of {one.kind.upper()} that the state keeps for its log",
                    sum(msisdn in listed for msisdn in self._msisdns),
                )

    def _search_export(self, file: Path) -> None:
        """Search a file that the state was exported to or imported from, whole or half written, if it still exists."""
        if not file.exists():
            return
        key = secrets.token_bytes(KEY_BYTES)
        hashes = [keyed_hash(key, msisdn.encode()) for msisdn in self._msisdns]
        wanted = frozenset(self._msisdns)
        try:
            with storage_errors(file), closing(connect(file, "ro")) as db:
                rows = db.execute("SELECT msisdn FROM notification")
                times = sum(msisdn in wanted for (msisdn,) in rows)
                for (content,) in db.execute("SELECT content FROM reject_file"):
                    times += self._count(unescape(content))
                for (content,) in db.execute("SELECT content FROM ledger_base"):
                    times += forget_in(content, key, hashes) is not None
        except (UpswellError, ValueError) as error:
            self._note_unsearched(str(file), getattr(error, "message", str(error)))
            return
        self._note_found(f"the exported file {escape(str(file))}", times)

    def _count(self, content: bytes) -> int:
        """Return how often they occur in some bytes."""
        return sum(number in self._encoded for number in numbers(content))

    def _note_found(self, where: str, times: int) -> None:
        if times:
            self.found.append(f"{where}: {'once' if times == 1 else f'{times:,} times'}")

    def _note_unsearched(self, where: str, why: str | None) -> None:
        self.unsearched.append(f"{escape(where)}: {escape(why or 'cannot be read')}")
