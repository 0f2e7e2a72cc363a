"""The command line: which command the words name, and what its end means to the caller.

Owns the list of commands, the exit codes and how an error is shown; every command lives in a module of its own,
imported only when it is asked for, so that ``upswell --help`` starts as fast as Python does. It holds no logic: each
command parses its words, calls one module below, and prints. Data goes to stdout, narration to stderr.
"""

import importlib
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from upswell.cli.terminal import HELP, Command, Complaints, color, finish, show_traceback
from upswell.errors import InputMissing, UpswellError
from upswell.privacy import mask_digits

COMMANDS = {
    "run": "Turn DATA into notifications, for ever or once",
    "check": "Lint rules, segment, configuration, directories, state and data before a run",
    "generate": "Make rules, a segment or a stream of data to try things with",
    "status": "Say where a run stands, while it runs and after",
    "sent": "List and count what was notified",
    "rejects": "List and count what was refused, and give its raw lines back",
    "history": "Show every edit of the rules and the segment, and what came of it",
    "explain": "Tell why a customer was notified or not, from the kept files",
    "whatif": "Count what other rules, or another segment, would have sent",
    "reconcile": "Prove DATA, state and OUTPUT against a fresh replay",
    "state": "Verify, describe or move a state directory",
    "submit": "The same as run on a cluster of Apache Spark, with the PEX as all that is shipped",
    "dashboard": "A page with three views of a run, live and read-only",
    "demo": "A full tour on generated data, in under a minute",
}
"""Every command with its line in the help, in order. Command ``x`` is ``command`` in upswell.cli.commands.x."""

_RUNS = ("run", "submit")
_GROUP_OPTIONS = ("-h", "--help", "--version")
_SUGGESTION_CUTOFF = 0.6
_INTERRUPTED = 130

_EPILOG = """\
The four paths alone are the command "run". A directory that is named like a command is written
with its path: ./state. Every option of run is also a variable (UPSWELL_POLL_S) and a key of
upswell.toml (poll_s)."""

EXIT_CODES = {
    0: "done, or stopped cleanly by a signal",
    1: "a check found a difference",
    2: "the words on the command line are off",
    65: "more lines were rejected than --max-reject-ratio allows; all else is published",
    66: "an input path is missing or unreadable",
    70: "internal error",
    73: "OUTPUT cannot be created or written",
    74: "I/O error, full disk, not enough memory, damaged state, or Spark failed; a restart goes on where it stopped",
    75: "another run holds the state",
    78: "configuration, RULES or SEGMENT unusable",
    129: "of run: at once, by a second SIGHUP",
    130: "interrupted; of run: at once, by a second SIGINT",
    143: "of run: at once, by a second SIGTERM",
}
"""Every exit code with its meaning."""


class Commands(click.Group):
    """The commands, found by name and imported when used; anything else is the words of ``run``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"upswell.cli.commands.{name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words as those of ``run`` unless they begin with a command."""
        if args and args[0] not in COMMANDS and args[0] not in _GROUP_OPTIONS:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both forms."""
        formatter.write_usage("upswell", "DATA SEGMENT RULES OUTPUT [OPTIONS]")
        formatter.write_usage("upswell", "COMMAND [ARGS]...", prefix="       ")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, the two rules of names, and the exit codes."""
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
            formatter.write_dl([(str(code), words) for code, words in EXIT_CODES.items()])

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run the command that the words name, and leave with its exit code."""
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words or bool(os.environ.get("UPSWELL_DEBUG"))
        sys.exit(finish(self._run(words, debug)))

    def _run(self, words: list[str], debug: bool) -> int:
        complaints = Complaints(as_json=_logs_json(words))
        try:
            code = super().main(words, "upswell", standalone_mode=False, obj=complaints)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True, color=color(sys.stderr))
            return error.exit_code
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "upswell"
            # Masked: a dial may stand among the words by mistake.
            message, hint = mask_digits(error.format_message()), f"see: {where} --help"
            complaints.tell(error.exit_code, message, _guess(words) or hint)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            complaints.tell(_INTERRUPTED, "interrupted")
            return _INTERRUPTED
        except Exception as error:  # noqa: BLE001 - the one place where every error becomes an exit code
            if debug:
                show_traceback(error)
            known = as_upswell_error(error)
            hint = known.hint
            if isinstance(known, InputMissing) or known.exit_code == 2:
                hint = _guess(words) or hint
            complaints.tell(known.exit_code, known.message, hint)
            return known.exit_code
        return code if isinstance(code, int) else 0


def as_upswell_error(error: Exception) -> UpswellError:
    """The error as the operator should read it: what happened, and the next step."""
    from upswell.errors import ConfigError, OutOfMemory, StorageError

    if isinstance(error, UpswellError):
        return error
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return ConfigError(
            f"{error.path or 'the compiled kernel'} cannot be loaded: it lies on a mount with the option noexec",
            "unpack Upswell on another mount: set PEX_ROOT to a directory there that only this user may write to",
        )
    if isinstance(error, MemoryError):
        return OutOfMemory(
            "not enough memory", "give it more, or fewer threads (--threads 1), and start again"
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return StorageError(
            f"{where}{error.strerror or error}",
            "nothing committed is lost: remove the cause (disk full, permissions) and start again",
        )
    if type(error).__module__ == "sqlite3":
        return StorageError(f"the state's database: {error}", "run: upswell state verify")
    return UpswellError(
        f"internal error: {type(error).__name__}: {mask_digits(str(error))}",
        "run again with --debug for the traceback",
    )


def _logs_json(words: Sequence[str]) -> bool:
    """Whether a run of these words logs JSON, as far as that shows before its settings are known."""
    if words and words[0] in COMMANDS and words[0] not in _RUNS:
        return False
    asked = os.environ.get("UPSWELL_LOG_FORMAT", "")
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("--log-format"):
            asked = word.partition("=")[2] or following
    return asked == "json"


def _guess(words: Sequence[str]) -> str:
    """'did you mean "…"?' when the first word, taken for DATA, is nearly a command's name."""
    plain = [word for word in words if not word.startswith("-")]
    if not plain or words[0] in COMMANDS:
        return ""
    if plain[0] in COMMANDS:
        return f"the command comes first: upswell {plain[0]} …"
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
        "Turn a telecom's data-usage stream into campaign notifications: for each application the"
        " records that should trigger a campaign, at most one a day per customer and application,"
        " each exactly once."
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
    """The command ``upswell``."""
    # A core file would hold the segment and the ledger, readable by whoever collects it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    commands.main()
