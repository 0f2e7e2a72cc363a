"""The run log: when runs of a state began and how they ended, for whoever asks why it was started again.

Owns STATE/runs.jsonl: a line when a run has its state, and one when it ends. A run without a second line was killed.
Nothing is decided by this file: it is not synced, and when it cannot be written or read nothing stops.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from upswell.engine.summary import Summary
from upswell.privacy import mask_digits
from upswell.state.reader import has_state
from upswell.storage import lock

NAME = "runs.jsonl"
LINES_KEPT = 200
_BYTES_MAX = 1 << 20  # are read: somebody else may have written the file
KILLED = "killed, ended by a second signal, or stopped by a power loss: its end was not recorded"


class LoggedRun(NamedTuple):
    """One run of the state, as far as it was recorded."""

    began: str
    """UTC, ISO 8601."""
    pid: int
    version: str
    ended: str
    """UTC, ISO 8601; empty while the run goes on, and when it was killed."""
    code: int | None
    """Its exit code; None like ``ended``."""
    why: str
    """The reason of its end, in words; empty while it goes on."""
    hint: str
    """The next step; empty when there is none."""


class RunLog:
    """Writes the two lines of one run. A listener of the engine, which is silent before it has its state."""

    def __init__(self, state_dir: Path, version: str) -> None:
        self._path = state_dir / NAME
        self._version = version
        self._began = ""

    def event(self, event: str, /, **fields: object) -> None:
        """Record the beginning of the run, the first time."""
        self.begin()

    def progress(self, summary: Summary) -> None:
        """Record the beginning of the run, the first time."""
        self.begin()

    def end(self, code: int, why: str, hint: str = "") -> None:
        """Record the end of the run, with its exit code, the reason and the next step."""
        self.begin()
        self._write({"ended": _now(), "code": code, "why": why, "hint": hint})

    def fail(self, code: int, message: str, hint: str) -> None:
        """Record the error that the run ended with, unless another run has the state: the log is that run's then."""
        state_dir = self._path.parent
        if self._began or (has_state(state_dir) and lock.holder(state_dir) is None):
            self.end(code, mask_digits(message), mask_digits(hint))

    def begin(self) -> None:
        """Record that the run has its state, the first time this is called."""
        if not self._began:
            self._began = _now()
            self._trim()
            self._write({"version": self._version})

    def _write(self, values: dict[str, object]) -> None:
        line = json.dumps({"began": self._began, "pid": os.getpid(), **values}) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError):  # a full disk stops the run where it matters
            fd = os.open(self._path, flags, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)

    def _trim(self) -> None:
        with contextlib.suppress(OSError):
            lines = _read(self._path).splitlines(keepends=True)
            if len(lines) > 2 * LINES_KEPT:
                fd = os.open(self._path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
                try:
                    os.write(fd, b"".join(lines[-LINES_KEPT:]))
                finally:
                    os.close(fd)


def read_runs(state_dir: Path, holder: str | None) -> list[LoggedRun]:
    """Return the recorded runs, in order. ``holder``: what runs on the state now, as ``lock.holder`` returns it."""
    try:
        content = _read(state_dir / NAME)
    except OSError:
        return []
    found: dict[tuple[str, int], dict[str, object]] = {}
    for line in _lines(content):
        found.setdefault((str(line.get("began")), _whole(line.get("pid"))), {}).update(line)
    every = [_run(line) for line in found.values()]
    # Only the last one can still be running.
    goes_on = f"process {every[-1].pid}," if every else ""
    return [
        run
        if run.ended or (run is every[-1] and (holder or "").startswith(goes_on))
        else run._replace(why=KILLED)
        for run in every
    ]


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(fd, _BYTES_MAX)
    finally:
        os.close(fd)


def _lines(content: bytes) -> Iterator[dict[str, object]]:
    for line in content.splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # cut by a kill
            continue
        if isinstance(values, dict):
            yield values


def _run(line: dict[str, object]) -> LoggedRun:
    code = line.get("code")
    return LoggedRun(
        str(line.get("began", "")),
        _whole(line.get("pid")),
        str(line.get("version", "")),
        str(line.get("ended", "")),
        None if code is None else _whole(code),
        str(line.get("why", "")),
        str(line.get("hint", "")),
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
