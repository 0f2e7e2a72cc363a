"""How the commands speak: words to stdout, complaints to stderr, help with examples.

Owns everything that is written to the two streams outside of narration: untrusted text is escaped
here, colours obey NO_COLOR, and a reader that went away ends the printing, not the command.
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
"""Context settings of every command."""
_LINES_AT_ONCE = 500


def color(stream: TextIO) -> bool:
    """Whether the stream may carry colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(*parts: Part) -> None:
    """Write lines and tables to stdout, whatever they hold made safe for a terminal."""
    if sys.stdout is None:
        return
    lines: list[str] = []
    for part in parts:
        lines += [escape(part)] if isinstance(part, str) else part.lines(sys.stdout)
    _write("".join(f"{line}\n" for line in lines))


def say_json(value: object) -> None:
    """Write one JSON object on one line of stdout."""
    # ASCII: an object must not depend on the locale, nor carry a control byte to a terminal.
    _write(json.dumps(value, ensure_ascii=True, default=str) + "\n")


def say_all(lines: Iterable[str]) -> None:
    """Write many lines to stdout as they come, made safe for a terminal, until the reader goes away."""
    some: list[str] = []
    try:
        for line in lines:
            some.append(line)
            if len(some) == _LINES_AT_ONCE:
                say(*some)
                some = []
                if is_abandoned():
                    return
    finally:  # also what came before an error
        say(*some)


def is_abandoned() -> bool:
    """Whether the reader of stdout has gone away."""
    return isinstance(sys.stdout, _Abandoned)


def say_bytes(pieces: Iterable[bytes]) -> None:
    """Write bytes to stdout as they are, for a file or a program; never to a terminal."""
    for piece in pieces:
        if sys.stdout is None:
            continue  # what is found on the way is still noted on stderr
        try:
            sys.stdout.buffer.write(piece)
        except BrokenPipeError:
            _abandon_stdout()
            return
        except OSError as error:
            raise _stdout_failed(error) from error


def note(*lines: str) -> None:
    """Say on stderr what the reader of stdout must know, too."""
    for line in lines:
        _tell(f"note: {escape(line)}\n")


def complain(message: str, hint: str = "") -> None:
    """Say on stderr what went wrong and what to do next."""
    if sys.stderr is None:
        return
    mark = click.style("error:", fg="red") if color(sys.stderr) else "error:"
    text = f"{mark} {escape(message)}\n"
    if hint:
        text += f"  next: {escape(hint)}\n"
    _tell(text)


class Complaints:
    """How the error that ends a command is told: in words, or as the last line of a log of JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        """Of a run, once its settings say so."""

    def tell(self, code: int, message: str, hint: str = "") -> None:
        """Say on stderr what went wrong and what to do next. ``code``: that the command ends with."""
        if not self.as_json:
            complain(message, hint)
            return
        from upswell.cli.narration import narrator

        narrator(0.0, "json").event("error", code=code, message=message, hint=hint)


def show_traceback(error: BaseException) -> None:
    """Say on stderr where in the code an error came from, its cause first, each text on one line and masked."""
    import traceback  # every start would pay for what only --debug needs

    if error.__cause__ is not None:
        show_traceback(error.__cause__)
    places = "".join(traceback.format_tb(error.__traceback__))
    text = mask_digits(f"{type(error).__name__}: {error}")
    _tell(f"Traceback (most recent call last):\n{places}{text}\n")


def finish(code: int) -> int:
    """Flush stdout, so that a failure shows in the exit code and not in the interpreter's shutdown."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
    except OSError as error:
        failed = _stdout_failed(error)
        complain(failed.message, failed.hint)
        return code or failed.exit_code
    return code


def _write(text: str) -> None:
    if sys.stdout is None:
        return
    try:
        _write_to(sys.stdout, text)
    except BrokenPipeError:
        _abandon_stdout()
    except OSError as error:
        raise _stdout_failed(error) from error


def _stdout_failed(error: OSError) -> StorageError:
    """The error for a stdout that takes nothing more; what is still written goes nowhere."""
    _abandon_stdout()
    return StorageError(
        f"cannot write to standard output: {error.strerror}",
        "make room where it is sent to, or send it elsewhere",
    )


def _tell(text: str) -> None:
    """Write to stderr. One that cannot be written must not change the exit code, which says the same."""
    if sys.stderr is None:
        return
    try:
        _write_to(sys.stderr, text)
    except (OSError, ValueError):
        sys.stderr = _nowhere()


def _write_to(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a terminal or pipe of another encoding, such as LANG=C
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _abandon_stdout() -> None:
    """Let what is still written go nowhere."""
    sys.stdout = _nowhere()


def _nowhere() -> TextIO:
    return _Abandoned(io.BufferedWriter(_Nowhere()))


class _Abandoned(io.TextIOWrapper):
    """A stream whose reader has left."""


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class Command(click.Command):
    """A command whose help ends with examples, and which takes ``--debug``."""

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
        """Write the examples last."""
        super().format_epilog(ctx, formatter)
        self.write_examples(formatter, self.examples)

    @staticmethod
    def write_examples(formatter: click.HelpFormatter, examples: Iterable[str]) -> None:
        """Add the section "Examples", its lines as they are."""
        formatter.write_paragraph()
        formatter.write_heading("Examples")
        for example in examples:
            formatter.write(f"  {example}\n")


class Group(click.Group):
    """Commands of one noun, with examples too."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.context_settings = {**HELP, **self.context_settings}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples last."""
        Command.write_examples(formatter, self.examples)
