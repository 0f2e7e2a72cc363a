"""The log output of a run on stderr: a live display on a terminal, structured lines elsewhere.

Owns the two listeners of the engine that write it. It decides nothing and must never end a run: if stderr goes away,
the output stops and the run continues. Every value is escaped, so that a file name can neither steer the terminal nor
forge a log line.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO, cast

from upswell.cli.summary_text import count, plural, seconds, size
from upswell.privacy import escape

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upswell.engine.summary import Summary

_REFRESHES_PER_S = 8
_APPLICATIONS_SHOWN_MAX = 5  # they share one line of a terminal
_RATE_WINDOW_S = 3.0  # over a shorter time, the rate would jump with every batch


class LogOutput(Protocol):
    """A listener of the engine, entered for the duration of the run."""

    latest: "Summary | None"
    """The summary last passed to ``progress``, for a run that ends with an error."""

    def event(self, event: str, /, **fields: object) -> None:
        """Write one event. Fields never hold a whole msisdn."""

    def progress(self, summary: "Summary") -> None:
        """Report the progress of the run."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def choose_log_output(
    interval_s: float, log_format: str = "text", *, verbose: bool = False
) -> LogOutput:
    """Return the log output that suits stderr: a live display on a terminal, a progress line per interval elsewhere.

    ``log_format`` "json": lines of JSON, on a terminal too. ``verbose``: also report every batch.
    """
    if log_format == "json":
        return LogLines(interval_s, verbose=verbose, write=_json)
    if sys.stderr is not None and sys.stderr.isatty() and _moves_cursor():
        return LiveDisplay(verbose=verbose)
    return LogLines(interval_s, verbose=verbose)


def _moves_cursor() -> bool:
    """Return True if the terminal can move its cursor. NO_COLOR only turns colours off, not the live display."""
    return os.environ.get("TERM", "dumb") != "dumb"


class LogLines:
    """Writes one structured line per event, and a progress line per interval."""

    def __init__(
        self,
        interval_s: float,
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[dict[str, object]], str] | None = None,
    ) -> None:
        """``write``: formats the fields of an event as a line; logfmt by default."""
        self.latest: Summary | None = None
        self._line = write or _logfmt
        self._interval_s = interval_s
        self._verbose = verbose
        self._clock = clock
        self._written_at = clock()
        self._written_lines = self._written_batches = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def event(self, event: str, /, **fields: object) -> None:
        """Write the event as one line."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        values = {"at": at, "event": event, **fields}
        self._write(self._line(values))

    def progress(self, summary: "Summary") -> None:
        """Write a progress line if the interval has passed or, when verbose, a batch was committed."""
        self.latest = summary
        now = self._clock()
        passed_s = now - self._written_at
        new_batch = self._verbose and summary.batches > self._written_batches
        if passed_s < self._interval_s and not new_batch:
            return
        lines = summary.lines - self._written_lines
        self._written_at, self._written_lines, self._written_batches = (
            now,
            summary.lines,
            summary.batches,
        )
        self.event(
            "progress",
            lines=summary.lines,
            lines_per_s=round(lines / passed_s) if passed_s > 0 else 0,
            notified=summary.outcomes["notified"],
            rejected=summary.outcomes["rejected"],
            backlog_files=summary.backlog_files,
            backlog_bytes=summary.backlog_bytes,
            batches=summary.batches,
        )

    def _write(self, line: str) -> None:
        stream = sys.stderr
        if stream is None:
            return
        try:
            stream.write(
                line + "\n"
            )  # stderr writes characters that the locale lacks as \\u escapes
            stream.flush()
        except (OSError, ValueError):
            # The reader of the log has gone, or its disk is full: no reason to end the run.
            return


def _json(fields: dict[str, object]) -> str:
    """Format the fields as one JSON object in ASCII; numbers stay numbers."""
    kept = {
        key: value if isinstance(value, int | float) else escape(str(value))
        for key, value in fields.items()
    }
    return json.dumps(kept)


def _logfmt(fields: dict[str, object]) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in fields.items())


def _logfmt_value(value: object) -> str:
    """Format a value for logfmt: in double quotes if it is empty or holds blanks, ``=`` or ``"``."""
    text = escape(str(value))
    if text and not any(char.isspace() or char in '="' for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Lossy:
    """A stream that drops what cannot be written: a closed terminal is no reason to end a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _by_application(summary: "Summary") -> str:
    """Format this run's notifications by application, the most notified first."""
    found = sorted(summary.notifications.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{escape(name)} {count(n)}" for name, n in found[:_APPLICATIONS_SHOWN_MAX]]
    if more := found[_APPLICATIONS_SHOWN_MAX:]:
        shown.append(f"{count(len(more))} more {count(sum(n for _, n in more))}")
    return "   ".join(shown)


def _reference(summary: "Summary") -> str:
    standing = summary.standing
    if not standing.versions.rules:
        return "none yet"
    return (
        f"rules {standing.versions.rules[:12]} ({count(standing.rules)})"
        f"   segment {standing.versions.segment[:12]} ({plural(standing.msisdns, 'MSISDN')})"
    )


class LiveDisplay:
    """A few lines at the bottom of a terminal that update themselves; events scroll above them."""

    def __init__(self, *, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.latest: Summary | None = None
        self._verbose = verbose
        self._written_batches = 0
        self._started_at = time.monotonic()
        self._marks = [(self._started_at, 0, 0)]
        stream = cast("TextIO", _Lossy(sys.stderr))
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = RichLive(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def event(self, event: str, /, **fields: object) -> None:
        """Write the event above the live display."""
        from rich.text import Text

        line = Text()
        if event == "warning":
            line.append("warning ", style="yellow")
            line.append(escape(str(fields.get("text", ""))))
        else:
            line.append(escape(event))
            for key, value in fields.items():
                line.append(f" {key}=", style="dim")
                line.append(escape(str(value)))
        self._console.print(line)

    def progress(self, summary: "Summary") -> None:
        """Record the progress; the next refresh shows it."""
        self.latest = summary
        now = time.monotonic()
        self._marks.append((now, summary.lines, summary.bytes))
        while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_WINDOW_S:
            self._marks.pop(0)
        if self._verbose and summary.batches > self._written_batches:
            self._written_batches = summary.batches
            self.event("batch", number=summary.batches, lines=summary.lines)

    def _picture(self) -> "RenderableType":
        from rich.table import Table
        from rich.text import Text

        elapsed = seconds(time.monotonic() - self._started_at)
        summary = self.latest
        if summary is None:
            return Text(f"starting   {elapsed}", style="dim")
        lines_per_s, bytes_per_s = self._rates()
        outcomes = "   ".join(
            f"{name} {count(n)}" for name, n in reversed(summary.outcomes.items()) if n
        )
        backlog = (
            f"{count(summary.backlog_files)} files, {size(summary.backlog_bytes)} to read"
            if summary.backlog_files
            else "nothing to read"
        )
        read = f"{count(summary.lines)} lines, {size(summary.bytes)} in {elapsed}"
        rate = f"{count(round(lines_per_s))} lines/s, {size(bytes_per_s)}/s"
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        for label, words in (
            ("read", Text.assemble(read, "   ", (rate, "bold"))),
            ("backlog", Text(f"{backlog}   batch {count(summary.batches)}")),
            ("lines", Text(outcomes or "none yet")),
            ("notified", Text(_by_application(summary) or "nobody yet")),
            ("reference", Text(_reference(summary))),
        ):
            words.no_wrap, words.overflow = True, "ellipsis"
            grid.add_row(label, words)
        return grid

    def _rates(self) -> tuple[float, float]:
        """Return lines and bytes per second over the last few seconds."""
        (then, lines, taken), (now, lines_now, taken_now) = self._marks[0], self._marks[-1]
        passed_s = now - then
        if passed_s <= 0:
            return 0.0, 0.0
        return (lines_now - lines) / passed_s, (taken_now - taken) / passed_s
