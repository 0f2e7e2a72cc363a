"""Checks of the surroundings of a run: OUTPUT, the state, the archive and Spark.

Owns the findings about everything but the inputs. It makes no directory, begins no state and takes no lock; it may
look at a state that a run is using.
"""

import os
from pathlib import Path

from upswell.audit.preflight.report import Level, Report
from upswell.config.settings import Settings
from upswell.engine.archive_directory import check_place
from upswell.engine.places import check_places
from upswell.engine.spark import jvm
from upswell.engine.summary import describe_exported_again
from upswell.errors import ConfigError, OutputUnwritable, UpswellError
from upswell.kernel import Segment
from upswell.output.directories import check_directories
from upswell.output.names import CONTROL, OWN_DIRECTORY, parse_begun, parse_published
from upswell.reference import suppression
from upswell.reference.application import directory_name
from upswell.reference.files import Contents
from upswell.reference.policy import Policy
from upswell.reference.rules import Ruleset, parse_rules
from upswell.reference.versions import Versions
from upswell.reference.zone_tables import describe_change
from upswell.state.binding import ledger_mismatch, mismatches, run_shards
from upswell.state.identity import SPARK, StateIdentity, ledger_form
from upswell.state.maintenance.verify import verify
from upswell.state.queries.files import files_exported_again
from upswell.state.queries.zones import zones_of
from upswell.state.reader import StateReader, has_state
from upswell.storage.lock import holder
from upswell.storage.mounts import doubts, refuse_network

_WHY_COUNTED_ANEW = (
    "ask its producer why: its first lines are counted twice, in totals and notifications"
)


def check_spark(report: Report, settings: Settings) -> None:
    """Report the Java and the Spark that a run would use. The cluster's master is not contacted."""
    try:
        java, java_version = jvm.find_java()
        home, version = jvm.find_spark()
    except ConfigError as error:
        report.add_error("engine", error)
    else:
        words = f"Spark {version} in {home}, Java {java_version} at {java}"
        report.add("note", settings.master, f"computes on {words}", "")


def check_paths(report: Report, settings: Settings, *, output_given: bool) -> None:
    """Report paths that are one place, lie within each other, or seem swapped, and a settings file found by chance."""
    if here := settings.origins.get("config"):
        report.add("note", here, "settings are read from it, since it is in the working directory")
    try:
        check_places(settings, output_given=output_given)
    except ConfigError as error:
        report.add_error("paths", error)


def check_output(report: Report, settings: Settings, ruleset: Ruleset) -> None:
    """Report whether OUTPUT, the state's directory and the applications' directories can be used."""
    output = settings.output
    try:
        place = output if output.exists() else output.parent
        place.is_dir()
    except OSError as error:
        report.add(
            "error",
            output,
            f"cannot be reached: {error.strerror}",
            "correct the path or its permissions",
        )
        return
    if output.exists() and not output.is_dir():
        report.add(
            "error", output, "not a directory", "name a directory, or a path to create one at"
        )
    elif not place.is_dir():
        report.add(
            "error",
            output,
            "neither it nor its parent exists",
            f"create it: mkdir -p {output.parent}",
        )
    elif not os.access(place, os.W_OK | os.X_OK):
        report.add("error", place, "not writable by this user", "change its owner or mode")
    else:
        _check_mounts(report, place, _existing(settings.state_dir))
    if not output.is_dir():
        return
    for application in ruleset.applications():
        try:
            check_directories(output, [application], control=settings.policy.control_share > 0)
        except OutputUnwritable as error:
            report.add_error(output / directory_name(application), error)


def _check_mounts(report: Report, output: Path, state_dir: Path) -> None:
    places = (("OUTPUT", output), ("the state directory", state_dir))
    for what, path in places:
        try:
            refuse_network(path, what, OutputUnwritable)
        except OutputUnwritable as error:
            report.add_error(path, error)
    for sentence in doubts(places):
        report.add("warning", output, sentence)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def check_archive(report: Report, settings: Settings) -> None:
    """Report whether finished files can be moved to the archive. A DATA that cannot be reached is told elsewhere."""
    try:
        if settings.data.is_dir():
            check_place(settings)
    except OSError:
        return
    except UpswellError as error:
        report.add_error(settings.archive, error)


def check_state(
    report: Report, settings: Settings, rules: Contents | None, suppressed: Segment | None
) -> None:
    """Report whether a run can go on with the state, or begin one.

    Args:
        report: takes the findings.
        settings: of the run.
        rules: RULES as it is now; None when it cannot be read.
        suppressed: SUPPRESS as it is now; None without one, or when it cannot be read.
    """
    state_dir = settings.state_dir
    if not has_state(state_dir):
        _check_new(report, settings)
        return
    if held_by := holder(state_dir):
        report.add("note", state_dir, f"in use by a run: {held_by}")
    try:
        with StateReader.open(state_dir) as reader:
            identity, versions = reader.identity(), reader.current_versions()
            if versions:
                _check_zones(report, settings, reader)
                _check_kept_back(report, settings, reader, versions, suppressed)
            exported, named = files_exported_again(reader, 1)
    except UpswellError as error:
        report.add_error(state_dir, error)
        return
    for newest in named:
        sentence = describe_exported_again(exported, newest.name, newest.detail)
        # A note, since nothing can be corrected any more: a strict check would never end with 0 again.
        report.add("note", settings.data, sentence, _WHY_COUNTED_ANEW)
    for sentence in verify(state_dir):
        report.add("error", state_dir, sentence)
    # Created, but its first run ended before it wrote down what the state belongs to.
    if not identity.begun:
        _check_new(report, settings)
    for key, asked, bound in mismatches(settings, identity):
        report.add(
            "error",
            state_dir,
            f"{key} is {asked}, but this state was created with {bound}",
            "set it back, or begin a new state: another OUTPUT, and --since with the next day's 0000",
        )
    _check_engine(report, settings, identity)
    changed = rules is not None and versions is not None and rules.version != versions.rules
    if changed and rules and parse_rules(rules.files).problems and not settings.accept_reference:
        report.add(
            "error",
            "RULES",
            "this change would be refused because of its bad lines, and the last good version kept",
            "correct them, or pass --accept-reference",
        )


def _check_zones(report: Report, settings: Settings, reader: StateReader) -> None:
    """Report that the next batch would be converted by other tables of the state's time zones than the last one."""
    zones, known = reader.identity().zones, reader.last_zones()
    # Other zones than the state's are an error of their own.
    if known and settings.zones == zones and zones.version != known:
        change = describe_change(zones_of(reader, known), zones, reader.day_open())
        # Never a warning, since nobody can correct it: a strict check would fail after each such update.
        report.add("note", settings.state_dir, change.words)


def _check_kept_back(
    report: Report, settings: Settings, reader: StateReader, versions: Versions, new: Segment | None
) -> None:
    """Report that a start would notify customers whom the state keeps back. ``new``: SUPPRESS as it is now."""
    level: Level = "warning" if settings.accept_reference else "error"
    if versions.suppress and settings.suppress is None:
        report.add(level, settings.state_dir, *suppression.LEFT_OUT)
    elif versions.suppress and new is not None and len(new):
        for sentence in suppression.lost(
            Segment.decode(reader.reference("suppress", versions.suppress)), new
        ):
            report.add(
                level,
                settings.suppress,
                f"this change would be refused, and the last good version kept: {sentence}",
                "correct it, or pass --accept-reference",
            )
    known = reader.reference("policy", versions.policy) if versions.policy else b""
    for message, hint in Policy.parse(known).losses(settings.policy):
        report.add(level, settings.state_dir, message, hint)


def _check_engine(report: Report, settings: Settings, identity: StateIdentity) -> None:
    """Report a state of another engine, or of another number of shards than was asked for."""
    shards = run_shards(settings, identity) if settings.engine == SPARK else None
    if found := ledger_mismatch(ledger_form(shards), identity):
        report.add(
            "error",
            settings.state_dir,
            f"{found.key} is {found.asked}, but this state was created with {found.bound}",
            f"set {found.key} to {found.bound}, or move the state: upswell state export, then import",
        )


def _check_new(report: Report, settings: Settings) -> None:
    if not settings.adopt and _has_published(settings.output):
        report.add(
            "error",
            settings.output,
            f"contains notifications, or once did, but no state in {settings.state_dir} recorded them",
            "pass --state with the state that wrote them, or --adopt to take over their daily caps",
        )


def _has_published(output: Path) -> bool:
    """Return whether OUTPUT contains notifications or, by its own mark, once did: what a start asks of the sink."""
    marks = (parse_begun(name) for name in _names(output / OWN_DIRECTORY))
    return any(marks) or any(
        parse_published(name)
        for parent in (output, output / CONTROL)
        for place in _names(parent)
        for name in _names(parent / place)
    )


def _names(directory: Path) -> list[str]:
    """Return what a directory contains; nothing when it is not one, or a link, or unreadable (as lost+found)."""
    try:
        return [] if directory.is_symlink() else [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
