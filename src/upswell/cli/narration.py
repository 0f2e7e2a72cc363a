"""What a run says while it runs, on stderr: a few live lines on a terminal, structured lines elsewhere.

Owns the two listeners of the engine. It decides nothing and must never end a run: when stderr goes
away, the narration stops and the run goes on. Every value is escaped, so that a file's name cannot
write to the terminal or forge a line of the log.
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
_APPLICATIONS_SHOWN_MAX = 5  # on one line of a terminal
_RATE_WINDOW_S = 3.0  # a rate over less than this jumps with every batch


class Narrator(Protocol):
    """A listener of the engine that is open while the run lasts."""

    latest: "Summary | None"
    """What progress heard last, for the summary of a run that ended with an error."""

    def event(self, event: str, /, **fields: object) -> None:
        """One line of narration."""

    def progress(self, summary: "Summary") -> None:
        """How far the run is."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def narrator(interval_s: float, log_format: str = "text", *, verbose: bool = False) -> Narrator:
    """The narration that suits stderr: live on a terminal, a structured line per interval elsewhere.

    ``log_format`` "json": lines of JSON, on a terminal too.
    """
    if log_format == "json":
        return Lines(interval_s, verbose=verbose, write=_json)
    if sys.stderr is not None and sys.stderr.isatty() and _moves_cursor():
        return Live(verbose=verbose)
    return Lines(interval_s, verbose=verbose)


def _moves_cursor() -> bool:
    """Whether the terminal can move its cursor; NO_COLOR only takes the colours away."""
    return os.environ.get("TERM", "dumb") != "dumb"


class Lines:
    """One structured line per event, and one per interval for the progress."""

    def __init__(
        self,
        interval_s: float,
        *,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[dict[str, object]], str] | None = None,
    ) -> None:
        """``write``: makes a line of an event's fields; logfmt by default."""
        self.latest: Summary | None = None
        self._line = write or _logfmt
        self._interval_s = interval_s
        self._verbose = verbose
        self._clock = clock
        self._said_at = clock()
        self._said_lines = self._said_batches = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def event(self, event: str, /, **fields: object) -> None:
        """Write the event."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        values = {"at": at, "event": event, **fields}
        self._write(self._line(values))

    def progress(self, summary: "Summary") -> None:
        """Write one line when the interval is over or, when asked to be verbose, a batch is."""
        self.latest = summary
        now = self._clock()
        passed_s = now - self._said_at
        new_batch = self._verbose and summary.batches > self._said_batches
        if passed_s < self._interval_s and not new_batch:
            return
        lines = summary.lines - self._said_lines
        self._said_at, self._said_lines, self._said_batches = now, summary.lines, summary.batches
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
            stream.write(line + "\n")  # what the locale lacks, stderr writes as \\u escapes
            stream.flush()
        except (OSError, ValueError):
            # Whoever read the log is gone, or its disk is full: no reason to end the run.
            return


def _json(fields: dict[str, object]) -> str:
    """The fields as one object, in ASCII: numbers stay numbers."""
    kept = {
        key: value if isinstance(value, int | float) else escape(str(value))
        for key, value in fields.items()
    }
    return json.dumps(kept)


def _logfmt(fields: dict[str, object]) -> str:
    return " ".join(f"{key}={_word(value)}" for key, value in fields.items())


def _word(value: object) -> str:
    """A value as logfmt writes it: in double quotes where it would not read as one word otherwise."""
    text = escape(str(value))
    if text and not any(char.isspace() or char in '="' for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Lossy:
    """A stream that loses what cannot be written: a terminal that was closed is no reason to end a run."""

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
    """Notifications of this run, those with the most first."""
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
        f"   segment {standing.versions.segment[:12]} ({plural(standing.dials, 'dial')})"
    )


class Live:
    """A few lines that renew themselves at the bottom of a terminal; events scroll above them."""

    def __init__(self, *, verbose: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.latest: Summary | None = None
        self._verbose = verbose
        self._said_batches = 0
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
        """Write the event above the live lines."""
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
        """Take in how far the run is; the next refresh shows it."""
        self.latest = summary
        now = time.monotonic()
        self._marks.append((now, summary.lines, summary.bytes))
        while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_WINDOW_S:
            self._marks.pop(0)
        if self._verbose and summary.batches > self._said_batches:
            self._said_batches = summary.batches
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
        """Lines and bytes a second over the last few seconds."""
        (then, lines, byte), (now, lines_now, byte_now) = self._marks[0], self._marks[-1]
        passed_s = now - then
        if passed_s <= 0:
            return 0.0, 0.0
        return (lines_now - lines) / passed_s, (byte_now - byte) / passed_s
