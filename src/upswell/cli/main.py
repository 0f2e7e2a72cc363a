"""The command line: selects the command to run and turns its outcome into an exit code.

Owns the list of commands, the exit codes and how an error is reported. Every command is a module of its own that is
imported only when it is run, so that ``upswell --help`` starts as fast as Python does. It holds no logic: a command
parses its arguments, calls one module below, and prints. Data goes to stdout, log output to stderr.
"""

import errno
import importlib
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from upswell.cli.encoding import use_utf8
from upswell.cli.signals import end_at_sigterm
from upswell.cli.terminal import HELP, Command, ErrorReporter, color, finish, show_traceback
from upswell.errors import InputMissing, UpswellError
from upswell.privacy import mask_digits

COMMANDS = {
    "run": "Turn DATA into notifications, continuously or once",
    "check": "Check rules, segment, settings, directories, state and data before a run",
    "generate": "Generate rules, a segment or data for tests and trials",
    "status": "Show the progress of a run, while it is active or afterwards",
    "sent": "Count or list the notifications sent",
    "rejects": "Count or list rejected lines, or write them out for correction",
    "history": "Show every change of rules, segment, policies and zone tables, and its effect",
    "explain": "Explain why a customer was or was not notified",
    "whatif": "Count what other rules or another segment would have sent",
    "effect": "Compare the usage of the notified with that of the control group",
    "reconcile": "Check DATA, state and OUTPUT against a fresh replay",
    "state": "Verify, describe, back up or move a state, or remove a person from it",
    "submit": "Run on an Apache Spark cluster, shipping only the PEX file",
    "dashboard": "Serve a live, read-only web page about a run",
    "demo": "Give a full tour on generated data, in under a minute",
}
"""Every command with its help line, in order. Command ``x`` is ``command`` in upswell.cli.commands.x."""

_RUNS = ("run", "submit")
_GROUP_OPTIONS = ("-h", "--help", "--version")
_SUGGESTION_CUTOFF = 0.6
_INTERRUPTED = 130

_EPILOG = """\
Without a command, the four paths start "run". Write a directory that has the name of a command as
a path, such as ./state. Every option of run can also be set by an environment variable
(UPSWELL_POLL_S) or a key in upswell.toml (poll_s)."""

EXIT_CODES = {
    0: "success, or stopped cleanly by a signal",
    1: "a check found a difference",
    2: "usage error: unknown, missing or conflicting arguments",
    65: "more lines were rejected than --max-reject-ratio allows; everything else is published",
    66: "an input path, or the state that a command reads, is missing or unreadable",
    70: "internal error",
    73: "OUTPUT cannot be created or written",
    74: "I/O error, full disk, out of memory, damaged state or Spark failure; a restart resumes where it stopped",
    75: "another run holds the state, or another program the database or a port",
    78: "settings, RULES or SEGMENT are unusable",
    129: "run stopped at once by a second SIGHUP",
    130: "interrupted, or run stopped at once by a second SIGINT",
    143: "run stopped at once by a second SIGTERM",
}
"""Every exit code and its meaning."""


class Commands(click.Group):
    """The commands, imported when they are run; arguments that do not start with a command belong to ``run``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return the command of that name, or None if there is none."""
        if name not in COMMANDS:
            return None
        if name not in _RUNS:
            end_at_sigterm()
        command: click.Command = importlib.import_module(f"upswell.cli.commands.{name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Pass arguments that do not start with a command to ``run``."""
        if args and args[0] not in COMMANDS and args[0] not in _GROUP_OPTIONS:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both forms: the four paths, and a command."""
        formatter.write_usage("upswell", "DATA SEGMENT RULES OUTPUT [OPTIONS]")
        formatter.write_usage("upswell", "COMMAND [ARGS]...", prefix="       ")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, the rules about names, and the exit codes."""
        Command.write_examples(
            formatter,
            (
                "upswell demo",
                "upswell data/ segment/ rules/ out/ --once",
                "upswell check data/ segment/ rules/ out/",
                "upswell status --output out/",
            ),
        )
        formatter.write_paragraph()
        formatter.write_text(_EPILOG)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run the command that the arguments select, and exit with its code."""
        arguments = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in arguments or bool(os.environ.get("UPSWELL_DEBUG"))
        sys.exit(finish(self._run(arguments, debug)))

    def _run(self, arguments: list[str], debug: bool) -> int:
        """Run the selected command, report an error that it raises, and return its exit code."""
        reporter = ErrorReporter(as_json=_logs_json(arguments))
        try:
            code = super().main(arguments, "upswell", standalone_mode=False, obj=reporter)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True, color=color(sys.stderr))
            return error.exit_code
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "upswell"
            # Masked: an msisdn may be among the arguments by mistake.
            message, hint = mask_digits(error.format_message()), f"see: {where} --help"
            reporter.report(error.exit_code, message, _guess(arguments) or hint)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            reporter.report(_INTERRUPTED, "interrupted")
            return _INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the one place that turns every error into an exit code
            if debug:
                show_traceback(error)
            known = as_upswell_error(error)
            hint = known.hint
            if isinstance(known, InputMissing) or known.exit_code == 2:
                hint = _guess(arguments) or hint
            reporter.report(known.exit_code, known.message, hint)
            return known.exit_code
        return code if isinstance(code, int) else 0


def as_upswell_error(error: Exception) -> UpswellError:
    """Return the error as the operator should read it: what happened, and the next step."""
    from pathlib import Path

    from upswell.errors import ConfigError, OutOfMemory, StorageError
    from upswell.storage.files import RECOVERS, next_step

    if isinstance(error, UpswellError):
        return error
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        if error.path and not os.statvfs(error.path).f_flag & os.ST_NOEXEC:
            error = MemoryError()  # the loader says the same of both
        else:
            return ConfigError(
                f"{error.path or 'the compiled kernel'} cannot be loaded: it lies on a mount with the option noexec",
                "unpack Upswell on another mount: set PEX_ROOT to a directory there that only this user may write to",
            )
    if isinstance(error, MemoryError):
        return OutOfMemory(
            "not enough memory", "provide more, or use fewer threads (--threads 1), and start again"
        )
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return OutOfMemory(
            "no thread can be started",
            "raise the number of processes that this user may have (ulimit -u, TasksMax), or provide more memory, and"
            " start again",
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno == errno.ENAMETOOLONG:
            return ConfigError(f"{where}{error.strerror}", "name a shorter path")
        return StorageError(
            f"{where}{error.strerror or error}",
            next_step(error, Path(os.fsdecode(error.filename or ".")), RECOVERS),
        )
    if type(error).__module__ == "sqlite3":
        return StorageError(f"state database: {error}", "run: upswell state verify")
    return UpswellError(
        f"internal error: {type(error).__name__}: {mask_digits(str(error))}",
        "run again with --debug for the traceback",
    )


def _logs_json(arguments: Sequence[str]) -> bool:
    """Return True if a run with these arguments logs JSON, as far as can be told before its settings are known."""
    if arguments and arguments[0] in COMMANDS and arguments[0] not in _RUNS:
        return False
    asked = os.environ.get("UPSWELL_LOG_FORMAT", "")
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument.startswith("--log-format"):
            asked = argument.partition("=")[2] or following
    return asked == "json"


def _guess(arguments: Sequence[str]) -> str:
    """Return 'did you mean "…"?' if the first argument, taken for DATA, resembles a command; otherwise nothing."""
    plain = [each for each in arguments if not each.startswith("-")]
    if not plain or arguments[0] in COMMANDS:
        return ""
    if plain[0] in COMMANDS:
        return f"put the command first: upswell {plain[0]} …"
    import difflib

    near = difflib.get_close_matches(plain[0], COMMANDS, 1, _SUGGESTION_CUTOFF)
    return f'did you mean "upswell {near[0]}"?' if near else ""


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from upswell import __version__

        click.echo(f"upswell {__version__}")
        ctx.exit()


commands = Commands(
    help=(
        "Turn a telecom's data-usage stream into campaign notifications: for each application, the"
        " records that should trigger a campaign, at most one per customer, application and day,"
        " each sent exactly once."
    ),
    no_args_is_help=True,
    context_settings=HELP,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the version and exit.",
        )
    ],
)


def main() -> NoReturn:
    """Run the command ``upswell``."""
    use_utf8()
    # A core file would contain the segment and the ledger, readable by whoever collects it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    commands.main()
