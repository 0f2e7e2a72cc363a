"""Output of the commands: results to stdout, errors and notes to stderr, and help with examples.

Owns everything that is written to the two streams except the log output of a run. Untrusted text is escaped here,
colours obey NO_COLOR, and a reader that goes away ends the printing, not the command.
"""

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from upswell.cli.tables import Part
from upswell.errors import StorageError
from upswell.privacy import escape, mask_digits

HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Click's context settings for every command."""
_LINES_AT_ONCE = 500


def color(stream: TextIO) -> bool:
    """Return True if colours may be written to the stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(*parts: Part) -> None:
    """Write lines and tables to stdout, escaped so that they are safe for a terminal."""
    if sys.stdout is None:
        return
    lines: list[str] = []
    for part in parts:
        lines += [escape(part)] if isinstance(part, str) else part.lines(sys.stdout)
    _write("".join(f"{line}\n" for line in lines))


def say_json(value: object) -> None:
    """Write one JSON object to stdout, on one line."""
    # ASCII: the output must not depend on the locale, nor carry a control byte to a terminal.
    _write(json.dumps(value, ensure_ascii=True, default=str) + "\n")


def say_all(lines: Iterable[str]) -> None:
    """Write many lines to stdout as they are produced, escaped, until the reader goes away."""
    some: list[str] = []
    try:
        for line in lines:
            some.append(line)
            if len(some) == _LINES_AT_ONCE:
                say(*some)
                some = []
                if is_abandoned():
                    return
    finally:  # also the lines before an error
        say(*some)


def is_abandoned() -> bool:
    """Return True if the reader of stdout has gone away."""
    return isinstance(sys.stdout, _Abandoned)


def say_bytes(pieces: Iterable[bytes]) -> None:
    """Write bytes to stdout unchanged. Only for a file or a pipe: they are not safe for a terminal."""
    for piece in pieces:
        if sys.stdout is None:
            continue  # producing them may still lead to notes on stderr
        try:
            sys.stdout.buffer.write(piece)
        except BrokenPipeError:
            _abandon_stdout()
            return
        except OSError as error:
            raise _stdout_failed(error) from error


def note(*lines: str) -> None:
    """Write notes to stderr that the reader of stdout should know about."""
    for line in lines:
        _write_stderr(f"note: {escape(line)}\n")


def report_error(message: str, hint: str = "") -> None:
    """Write an error and its next step to stderr."""
    if sys.stderr is None:
        return
    mark = click.style("error:", fg="red") if color(sys.stderr) else "error:"
    text = f"{mark} {escape(message)}\n"
    if hint:
        text += f"  next: {escape(hint)}\n"
    _write_stderr(text)


class ErrorReporter:
    """Reports the error that ends a command: in words, or as the last line of log output in JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        """Set by a run once its settings are known."""

    def report(self, code: int, message: str, hint: str = "") -> None:
        """Write an error and its next step to stderr. ``code``: the exit code of the command."""
        if not self.as_json:
            report_error(message, hint)
            return
        from upswell.cli.log_output import choose_log_output

        choose_log_output(0.0, "json").event("error", code=code, message=message, hint=hint)


def show_traceback(error: BaseException) -> None:
    """Write the traceback of an error to stderr, its cause first; each message is masked and on one line."""
    import traceback  # needed for --debug alone, and every start would pay for it

    if error.__cause__ is not None:
        show_traceback(error.__cause__)
    places = "".join(traceback.format_tb(error.__traceback__))
    text = mask_digits(f"{type(error).__name__}: {error}")
    _write_stderr(f"Traceback (most recent call last):\n{places}{text}\n")


def finish(code: int) -> int:
    """Flush stdout and return the exit code: ``code``, or that of a failed flush if ``code`` is 0."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
    except OSError as error:
        failed = _stdout_failed(error)
        report_error(failed.message, failed.hint)
        return code or failed.exit_code
    return code


def _write(text: str) -> None:
    if sys.stdout is None:
        return
    try:
        _write_stream(sys.stdout, text)
    except BrokenPipeError:
        _abandon_stdout()
    except OSError as error:
        raise _stdout_failed(error) from error


def _stdout_failed(error: OSError) -> StorageError:
    """Return the error for a stdout that cannot be written to, and discard all further output."""
    _abandon_stdout()
    return StorageError(
        f"cannot write to standard output: {error.strerror}",
        "free space where it is redirected to, or redirect it elsewhere",
    )


def _write_stderr(text: str) -> None:
    """Write to stderr. Ignore a failure: the exit code, which says the same, must not change."""
    if sys.stderr is None:
        return
    try:
        _write_stream(sys.stderr, text)
    except (OSError, ValueError):
        sys.stderr = _nowhere()


def _write_stream(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal or pipe with another encoding, such as under LANG=C
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _abandon_stdout() -> None:
    """Discard all further output."""
    sys.stdout = _nowhere()


def _nowhere() -> TextIO:
    return _Abandoned(io.BufferedWriter(_Nowhere()))


class _Abandoned(io.TextIOWrapper):
    """A stream whose reader has gone away."""


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class Command(click.Command):
    """A command with ``--debug``, whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.context_settings = {**HELP, **self.context_settings}
        self.params.append(
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, help="Show tracebacks of errors."
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, then the examples."""
        super().format_epilog(ctx, formatter)
        self.write_examples(formatter, self.examples)

    @staticmethod
    def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
        """Write the section "Examples", each line unchanged."""
        formatter.write_paragraph()
        formatter.write_heading("Examples")
        for example in examples:
            formatter.write(f"  {example}\n")


class Group(click.Group):
    """A group of commands, whose help ends with examples."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.context_settings = {**HELP, **self.context_settings}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, then the examples."""
        Command.write_examples(formatter, self.examples)
