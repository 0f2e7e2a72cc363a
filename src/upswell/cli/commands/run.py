"""``upswell run``: the main job, from its arguments to its summary.

Owns which listeners a run has and what is printed at its end. The engine does the work.
"""

import importlib.util
import sys
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import Part, Table
from upswell.cli.terminal import Command, ErrorReporter, say, say_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from upswell.cli.log_output import LogOutput
    from upswell.config.settings import Settings
    from upswell.engine.compute import Compute
    from upswell.engine.reporter import Listener
    from upswell.engine.run_log import RunLog
    from upswell.engine.summary import Summary
    from upswell.state.checkpoint import Checkpoint

EXAMPLES = (
    "upswell data/ segment/ rules/ out/ --once         process what is there, then exit",
    "upswell run data/ segment/ rules/ out/            run continuously",
    "upswell run data/ segment/ rules/ out/ --once --json | jq .outcomes",
    "UPSWELL_POLL_S=0.2 upswell data/ segment/ rules/ out/ --no-watch",
    "upswell run --config /etc/upswell/upswell.toml",
)


@click.command(
    "run",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Read DATA as it arrives, and write the records that should trigger a campaign to"
        " OUTPUT/APPLICATION/. SEGMENT and RULES are a file or a directory of *.csv; they may change"
        " during the run. A run resumes where the last run on the same OUTPUT stopped, however that"
        " one ended.\n\nSIGINT, SIGTERM or SIGHUP finishes the current batch and exits with 0; a"
        " second one exits at once. Nothing is lost or sent twice either way."
    ),
)
@options.run
def command(config: str | None, as_json: bool, verbose: bool, **given: Any) -> int:
    """Run once or until a signal."""
    from upswell.config.sources import resolve

    return run(resolve(options.fields(given), Path(config) if config else None), as_json, verbose)


def run(settings: "Settings", as_json: bool, verbose: bool) -> int:
    """Run with these settings, print the summary, and return the exit code."""
    from upswell.cli.log_output import choose_log_output
    from upswell.errors import TooManyRejects

    reporter = click.get_current_context().ensure_object(ErrorReporter)
    reporter.as_json = settings.log_format == "json"
    listener = choose_log_output(settings.log_interval_s, settings.log_format, verbose=verbose)
    try:
        summary = run_engine(settings, listener)
    except TooManyRejects:
        if listener.latest is not None:
            _report(listener.latest, settings, as_json)
        raise
    _report(summary, settings, as_json)
    return 0


def run_engine(settings: "Settings", listener: "LogOutput") -> "Summary":
    """Run the engine with signal handling and all listeners, and return its summary."""
    from upswell import __version__
    from upswell.cli.sd_notify import ServiceNotifier
    from upswell.cli.signals import stopping
    from upswell.engine.run_log import RunLog

    def on_stop(name: str) -> None:
        supervised.stopping()
        listener.event("stopping after the batch in hand", signal=name)
        signals.append(name)

    signals: list[str] = []
    stop = threading.Event()
    run_log = RunLog(settings.state_dir, __version__)
    listeners = _Listeners(listener, run_log)
    supervised = ServiceNotifier(listeners)
    # The signals first: otherwise a thread that the listener starts would receive them, and end the process.
    with stopping(stop, on_stop), listener, ExitStack() as open_until_the_end:

        def begin(settings: "Settings", checkpoint: "Checkpoint") -> "Compute":
            """Start the run log and the metrics once the state is locked: a second run must touch neither."""
            run_log.begin()
            if settings.metrics is not None:
                _check_metrics()
                from upswell.engine.metrics import Metrics

                metrics = Metrics(settings.metrics, settings.state_dir, settings.output, stop)
                listeners.add(open_until_the_end.enter_context(metrics))
                listener.event("metrics are served", address=metrics.address)
            return _compute(settings, stop)(settings, checkpoint)

        if here := settings.origins.get("config"):
            listener.event("settings are read from the working directory", file=here)
        summary = _run(settings, supervised, stop, run_log, begin)
        run_log.end(0, f"stopped by {signals[0]}" if signals else "done")
        if not settings.once:
            listener.event("stopped", lines=summary.lines, notified=summary.outcomes["notified"])
        return summary


def _check_metrics() -> None:
    """Raise ConfigError when what --metrics needs is not installed."""
    if importlib.util.find_spec("prometheus_client") is None:
        from upswell.errors import ConfigError

        raise ConfigError(
            "--metrics needs prometheus_client, which is not installed",
            "run: pip install 'upswell[metrics]', or leave --metrics out",
        )


def _compute(
    settings: "Settings", stop: threading.Event
) -> "Callable[[Settings, Checkpoint], Compute]":
    """Return what makes the chosen engine; import only that one."""
    if settings.engine == "spark":
        from upswell.engine.spark import runner

        return partial(runner.compute, stopping=stop.is_set)
    from upswell.engine.compute import Embedded

    return Embedded


def _run(
    settings: "Settings",
    listener: "Listener",
    stop: threading.Event,
    run_log: "RunLog",
    compute: "Callable[[Settings, Checkpoint], Compute]",
) -> "Summary":
    """Run the engine; record in the run log how it failed."""
    from upswell.engine import run  # a tenth of a second in which a signal should not be lost
    from upswell.storage.files import umask

    try:
        with umask(0o077):  # new files are closed to other users until they get their mode
            return run.run(settings, listener, stop, compute, partial(_inspect, settings))
    except Exception as error:
        from upswell.cli.main import as_upswell_error

        known = as_upswell_error(error)
        run_log.fail(known.exit_code, known.message, known.hint)
        raise


def _inspect(settings: "Settings") -> list[str]:
    """Return what ``check`` would warn of, or refuse, about the inputs; about the places a run says it itself."""
    from upswell.audit.preflight.check import check

    report = check(settings, output_given=False)
    return [f"{one.where}: {one.message}" for one in report.ordered() if one.level != "note"]


class _Listeners:
    """A listener that forwards to several others."""

    def __init__(self, *listeners: "Listener") -> None:
        self._listeners = list(listeners)

    def add(self, listener: "Listener") -> None:
        self._listeners.append(listener)

    def event(self, event: str, /, **fields: object) -> None:
        for each in self._listeners:
            each.event(event, **fields)

    def progress(self, summary: "Summary") -> None:
        for each in self._listeners:
            each.progress(summary)


def _report(summary: "Summary", settings: "Settings", as_json: bool) -> None:
    from upswell.cli.summary_text import describe_summary, run_title

    if as_json:
        say_json(summary.to_json())
    elif settings.once or (sys.stdout is not None and sys.stdout.isatty()):
        say(*describe_summary(summary, title=run_title(summary)), *_next(summary, settings))


def _next(summary: "Summary", settings: "Settings") -> list[Part]:
    """List commands to run next, ready to be copied."""
    from shlex import quote

    output = quote(str(settings.output))
    where = f"--output {output}"
    if settings.state is not None:
        where = f"--state {quote(str(settings.state))}"
    steps = [(f"upswell status {where} --files", "the progress of the run, file by file")]
    if summary.outcomes["rejected"] or summary.outcomes["late"]:
        steps.append((f"upswell rejects {where}", "rejects by reason and by file"))
    if summary.notifications:
        steps.append((f"upswell sent {where}", "notifications by day and application"))
        steps.append((f"ls {output}", "the notifications, one directory per application"))
    if not summary.lines:
        words = " ".join(
            quote(str(path)) for path in (settings.data, settings.segment, settings.rules)
        )
        steps.append((f"upswell check {words} {output}", "checks the paths and settings"))
    return ["", "Next steps", Table(steps)]
