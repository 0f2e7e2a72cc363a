"""A lint of everything a run depends on, before it runs: what is wrong, where, and what to write instead.

Owns the findings and how grave each is. It changes nothing: no directory is made, no state is begun, no lock is held.
An *error* means that a run would not start, or would refuse the change; a *warning* that it would do something its
operator hardly wants; a *note* that something is worth knowing. Msisdns are masked in all of them.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from upswell.audit.labels import REASON_WORDS
from upswell.audit.preflight.lint import (
    SPREADSHEET,
    Findings,
    Level,
    SegmentFacts,
    lint_rules,
    lint_segment,
    lint_suppress,
    window_words,
)
from upswell.audit.preflight.sample import Sample, take_sample
from upswell.config.settings import Settings
from upswell.engine.archive import check_place
from upswell.engine.spark import jvm
from upswell.engine.summary import MATCHED_MIN_RATIO, MATCHED_SAMPLE_RECORDS
from upswell.errors import ConfigError, InputMissing, OutputUnwritable, UpswellError
from upswell.kernel import Segment
from upswell.output.names import CONTROL, OWN_DIRECTORY, parse_begun, parse_published
from upswell.output.sink import check_directories
from upswell.privacy import show_format
from upswell.reference import suppression
from upswell.reference.application import directory_name
from upswell.reference.files import Contents, read_rules, read_segment
from upswell.reference.policy import Policy
from upswell.reference.rules import Rule, Ruleset, parse_rules
from upswell.reference.versions import Versions
from upswell.source.listing import read_name, scan, show_name
from upswell.state.connection import DATABASE
from upswell.state.identity import SPARK, engine_of, fixed, other_engine, shards
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader
from upswell.storage.lock import holder
from upswell.storage.mounts import refuse_network
from upswell.zones import load_zone, stamp_time

EXIT_MISSING = 66
EXIT_UNUSABLE = 78
_REJECTED_MANY_RATIO = 0.01


@dataclass(slots=True)
class Report(Findings):
    """What the check found, and how it read what it checked."""

    rules: tuple[Rule, ...] = ()
    segment: SegmentFacts = field(default_factory=SegmentFacts)
    data_files: int = 0
    sample: Sample = field(default_factory=Sample)

    @property
    def exit_code(self) -> int:
        """66 when an input is missing, 78 when a run could not start, otherwise 0."""
        if self.missing:
            return EXIT_MISSING
        return EXIT_UNUSABLE if self.of("error") else 0

    def to_json(self) -> dict[str, object]:
        """The report as one object."""
        return {
            "ok": self.exit_code == 0,
            "findings": [one._asdict() for one in self.ordered()],
            "rules": [
                {
                    "service": rule.service,
                    "application": rule.application,
                    "window": window_words(rule),
                    "threshold": rule.threshold,
                    "directory": directory_name(rule.application),
                }
                for rule in self.rules
            ],
            "segment": asdict(self.segment),
            "data": {
                "files": self.data_files,
                "sampled_files": self.sample.files,
                "sampled_lines": self.sample.lines,
                "sampled_records": self.sample.records,
                "matched_records": self.sample.matched,
                "rejects": dict(self.sample.rejects),
            },
        }


def check(settings: Settings, *, output_given: bool) -> Report:
    """Look at everything. Without an OUTPUT nothing is said of directories and state."""
    report = Report()
    rules = _read(report, settings.rules, read_rules)
    segment_contents = _read(report, settings.segment, read_segment)
    ruleset = lint_rules(report, rules) if rules else Ruleset((), ())
    report.rules = ruleset.rules
    segment = None
    if segment_contents:
        segment, report.segment = lint_segment(report, segment_contents)
    suppressed = None
    if settings.suppress and (suppress := _read(report, settings.suppress, read_segment)):
        suppressed = lint_suppress(report, suppress)
    names = _check_names(report, settings)
    if settings.data.is_dir():
        _check_archive(report, settings)
    if names:
        report.sample = take_sample(settings.data, names, segment, ruleset.rules, settings.zones)
        _check_sample(report, segment, ruleset)
    if output_given:
        _check_output(report, settings, ruleset)
        _check_state(report, settings, rules, suppressed)
    if settings.engine == "spark":
        _check_spark(report, settings)
    return report


def _check_spark(report: Report, settings: Settings) -> None:
    """Say which Java and which Spark a run would use. No master is asked."""
    try:
        java, java_version = jvm.find_java()
        home, version = jvm.find_spark()
    except ConfigError as error:
        report.take("engine", error)
    else:
        words = f"Spark {version} in {home}, Java {java_version} at {java}"
        report.add("note", settings.master, f"computes on {words}", "")


def _read(report: Report, path: Path, read: Callable[[Path], Contents]) -> Contents | None:
    try:
        return read(path)
    except UpswellError as error:
        report.take(path, error)
        return None


def _check_names(report: Report, settings: Settings) -> list[tuple[str, str]]:
    """(stamp, name) of the files that a run would read."""
    try:
        seen = sorted(scan(os.fsencode(settings.data)))
    except InputMissing as error:
        report.take(settings.data, error)
        return []
    names, ignored = [], []
    now = datetime.now(load_zone(settings.data_timezone)).replace(tzinfo=None)
    newest = now + timedelta(days=settings.max_stamp_ahead_days)
    for name, found in seen:
        stamp, why = read_name(name)
        if not stamp or not stat.S_ISREG(found.st_mode):
            ignored.append(f"{show_name(name)} ({f'its {why}' if why else 'no regular file'})")
        elif stamp_time(stamp) > newest:
            report.add(
                "warning",
                name,
                f"its stamp is more than {settings.max_stamp_ahead_days} day(s) ahead of the clock"
                f" ({now:%Y%m%d%H%M} in {settings.data_timezone}): it would be held",
                "rename it, set data_timezone, or raise max_stamp_ahead_days",
            )
        else:
            names.append((stamp, name))
    report.data_files = len(names)
    if ignored:
        report.add(
            "note",
            settings.data,
            f"{len(ignored):,} name(s) would be ignored: {', '.join(ignored[:3])}{' …' if len(ignored) > 3 else ''}",
            "files are taken when they are named DATA_yyyyMMddHHmm.csv or .csv.gz, and no links",
        )
    if not names:
        report.add("note", settings.data, "holds no DATA_yyyyMMddHHmm.csv yet")
    return names


def _check_sample(report: Report, segment: Segment | None, ruleset: Ruleset) -> None:
    found = report.sample
    for name, why in found.unreadable.items():
        report.add("warning", name, f"cannot be read: {why}", "it would be held")
    level: Level = (
        "warning" if sum(found.rejects.values()) > found.lines * _REJECTED_MANY_RATIO else "note"
    )
    for reason, many in found.rejects.items():
        report.add(
            level,
            found.examples[reason].split(": ")[0],
            f"{many:,} of {found.lines:,} sampled lines are no records, {REASON_WORDS[reason]}:"
            f" {found.examples[reason].partition(': ')[2]}",
        )
    if segment is None or not len(segment) or not found.records:
        return
    _check_formats(report, segment)
    if found.outside_over:
        report.add(
            "note",
            "hours",
            f"{found.outside_over:,} sampled record(s) over their threshold but outside their hours, such as"
            f" {found.outside_example}",
            "if DATA's clock is not the rules' clock, set data_timezone and rules_timezone",
        )
    known = {rule.service for rule in ruleset.rules}
    without = {service: many for service, many in found.services.items() if service not in known}
    if without and known:
        listed = ", ".join(str(service) for service in sorted(without)[:10])
        report.add(
            "note",
            "RULES",
            f"no rule for service {listed}: {sum(without.values()):,} sampled records of the segment",
        )


def _check_formats(report: Report, segment: Segment) -> None:
    """Whether DATA and SEGMENT write dials alike."""
    found = report.sample
    dial = show_format(segment.sample(1)[0])
    for many, words, hint in (
        (
            found.without_zero,
            "without their leading zero: the segment seems to have lost it",
            SPREADSHEET,
        ),
        (
            found.with_zero,
            "with a leading zero more: DATA seems to have lost it",
            "deliver dials with their zero",
        ),
    ):
        if many:
            # A few are a fault of single lines; many are one of the whole file.
            level: Level = (
                "warning"
                if many > max(found.matched, found.records * _REJECTED_MANY_RATIO)
                else "note"
            )
            forms = f"DATA writes {found.zero_format}, SEGMENT {dial}"
            report.add(
                level,
                "SEGMENT",
                f"{many:,} of {found.records:,} sampled records would match {words} ({forms})",
                hint,
            )
    unexplained = not found.without_zero and not found.with_zero
    if unexplained and found.matched < found.records * MATCHED_MIN_RATIO:
        (form, _), *_ = found.formats.most_common(1)
        report.add(
            "warning" if found.records >= MATCHED_SAMPLE_RECORDS else "note",
            "SEGMENT",
            f"only {found.matched:,} of {found.records:,} sampled records match the segment:"
            f" DATA writes dials like {form}, SEGMENT like {dial}",
            "write both in one form",
        )


def _check_output(report: Report, settings: Settings, ruleset: Ruleset) -> None:
    output = settings.output
    place = output if output.exists() else output.parent
    if output.exists() and not output.is_dir():
        report.add("error", output, "is no directory", "name a directory, or a path to make one at")
    elif not place.is_dir():
        report.add(
            "error",
            output,
            "neither it nor its parent exists",
            f"create it: mkdir -p {output.parent}",
        )
    elif not os.access(place, os.W_OK | os.X_OK):
        report.add("error", place, "cannot be written by this user", "change its owner or mode")
    else:
        for path, what in (
            (place, "OUTPUT"),
            (_existing(settings.state_dir), "the state directory"),
        ):
            try:
                refuse_network(path, what, OutputUnwritable)
            except OutputUnwritable as error:
                report.take(path, error)
    if not output.is_dir():
        return
    for application in ruleset.applications():
        try:
            check_directories(output, [application], control=settings.policy.control_share > 0)
        except OutputUnwritable as error:
            report.take(output / directory_name(application), error)


def _check_archive(report: Report, settings: Settings) -> None:
    try:
        check_place(settings)
    except UpswellError as error:
        report.take(settings.archive, error)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def _check_state(
    report: Report, settings: Settings, rules: Contents | None, suppressed: Segment | None
) -> None:
    state_dir = settings.state_dir
    if not (state_dir / DATABASE).exists():
        _check_new(report, settings)
        return
    if holds := holder(state_dir):
        report.add("note", state_dir, f"a run holds it now: {holds}")
    try:
        with StateReader.open(state_dir) as reader:
            meta, versions = reader.meta(), reader.current_versions()
            if versions:
                _check_kept_back(report, settings, reader, versions, suppressed)
    except UpswellError as error:
        report.take(state_dir, error)
        return
    for sentence in verify(state_dir):
        report.add("error", state_dir, sentence)
    # It was made, but its first run never got to write down to what it belongs.
    if "measure" not in meta:
        _check_new(report, settings)
    for key, value in fixed(settings).items():
        if meta.get(key, value) != value:
            report.add(
                "error",
                state_dir,
                f"{key} is {value}, but this state was begun with {meta[key]}",
                "set it back, or begin anew: another OUTPUT, and --since with the next day's 0000",
            )
    _check_engine(report, settings, meta)
    changed = rules is not None and versions is not None and rules.version != versions.rules
    if changed and rules and parse_rules(rules.files).problems and not settings.accept_reference:
        report.add(
            "error",
            "RULES",
            "this change would be refused and the last good version kept, because of its bad lines",
            "correct them, or give --accept-reference",
        )


def _check_kept_back(
    report: Report, settings: Settings, reader: StateReader, versions: Versions, new: Segment | None
) -> None:
    """Whether a start would notify somebody whom the state keeps back. ``new``: SUPPRESS as it is now."""
    level: Level = "warning" if settings.accept_reference else "error"
    if versions.suppress and settings.suppress is None:
        report.add(level, settings.state_dir, *suppression.LEFT_OUT)
    elif versions.suppress and new is not None and len(new):
        for sentence in suppression.lost(
            Segment.load(reader.reference("suppress", versions.suppress)), new
        ):
            report.add(
                level,
                settings.suppress,
                f"this change would be refused and the last good version kept: {sentence}",
                "correct it, or give --accept-reference",
            )
    known = reader.reference("policy", versions.policy) if versions.policy else b""
    for message, hint in Policy.parse(known).losses(settings.policy):
        report.add(level, settings.state_dir, message, hint)


def _check_engine(report: Report, settings: Settings, meta: Mapping[str, str]) -> None:
    """Whether the state is one of this engine, and of as many shards when a number was asked for."""
    pinned = engine_of(shards(settings, meta) if settings.engine == SPARK else None)
    for key, value, known in other_engine(meta, pinned):
        report.add(
            "error",
            settings.state_dir,
            f"{key} is {value}, but this state was begun with {known}",
            f"set {key} to {known}, or move the state: upswell state export, then import",
        )


def _check_new(report: Report, settings: Settings) -> None:
    if not settings.adopt and _published(settings.output):
        report.add(
            "error",
            settings.output,
            f"holds notifications, or has held some, but there is no state in {settings.state_dir} that knows of them",
            "give --state with the state that wrote them, or --adopt to take over their daily caps",
        )


def _published(output: Path) -> bool:
    """Whether it holds notifications or, by its own mark, has held some: what ``claim.check`` asks of the sink."""
    marks = (parse_begun(name) for name in _names(output / OWN_DIRECTORY))
    return any(marks) or any(
        parse_published(name)
        for parent in (output, output / CONTROL)
        for place in _names(parent)
        for name in _names(parent / place)
    )


def _names(directory: Path) -> list[str]:
    """What a directory holds; nothing when it is none, or a link, or may not be read, as lost+found."""
    try:
        return [] if directory.is_symlink() else [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
