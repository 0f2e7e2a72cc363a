"""Checks everything a run depends on, before it runs: what is wrong, where, and what to write instead.

Owns the order of the checks and the findings about DATA; ``lint`` has those about RULES, SEGMENT and SUPPRESS,
``environment`` those about the rest. It changes nothing: no directory is made, no state is begun, no lock is held.
An *error* means that a run would not start, or would refuse the change; a *warning* that it would do something its
operator hardly wants; a *note* that something is worth knowing. Msisdns are masked in all of them.
"""

import os
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from upswell.audit.labels import REASON_WORDS
from upswell.audit.preflight.environment import (
    check_archive,
    check_output,
    check_paths,
    check_spark,
    check_state,
)
from upswell.audit.preflight.lint import SPREADSHEET, lint_rules, lint_segment, lint_suppress
from upswell.audit.preflight.report import Level, Report
from upswell.audit.preflight.sample import take_sample
from upswell.config.settings import Settings
from upswell.engine.other_forms import OTHER_FORM_MIN_RATIO
from upswell.engine.summary import MATCHED_MIN_RATIO, MATCHED_SAMPLE_RECORDS, describe_unread
from upswell.errors import InputMissing, UpswellError
from upswell.kernel import Segment
from upswell.privacy import show_format
from upswell.reference.files import Contents, read_rules, read_segment
from upswell.reference.loading import SWAPPED, are_swapped
from upswell.reference.rules import Ruleset
from upswell.source.listing import list_directory, looks_like_data, read_name, show_name
from upswell.zones import load_zone, stamp_time

_REJECTED_MANY_RATIO = 0.01
_IGNORED_NAMED_MAX = 3
_SERVICES_NAMED_MAX = 10


def check(settings: Settings, *, output_given: bool) -> Report:
    """Check everything; without an OUTPUT, neither directories nor state."""
    report = Report(strict=settings.strict)
    check_paths(report, settings, output_given=output_given)
    rules = _read(report, settings.rules, read_rules)
    segment_contents = _read(report, settings.segment, read_segment)
    if rules and segment_contents and are_swapped(rules, segment_contents):
        report.add("error", "RULES", *SWAPPED)  # each line of both would be reported besides
        rules = segment_contents = None
    ruleset = lint_rules(report, rules) if rules else Ruleset((), ())
    report.rules = ruleset.rules
    segment = None
    if segment_contents:
        segment, report.segment = lint_segment(report, segment_contents)
    suppressed = None
    if settings.suppress and (suppress := _read(report, settings.suppress, read_segment)):
        suppressed = lint_suppress(report, suppress)
    names = _check_names(report, settings)
    check_archive(report, settings)
    if names:
        report.sample = take_sample(settings.data, names, segment, ruleset.rules, settings.zones)
        _check_sample(report, segment, ruleset)
    if output_given:
        check_output(report, settings, ruleset)
        check_state(report, settings, rules, suppressed)
    if settings.engine == "spark":
        check_spark(report, settings)
    return report


def _read(report: Report, path: Path, read: Callable[[Path], Contents]) -> Contents | None:
    try:
        return read(path)
    except UpswellError as error:
        report.add_error(path, error)
        return None


def _check_names(report: Report, settings: Settings) -> list[tuple[str, str]]:
    """Return (stamp, name) of the files that a run would read."""
    try:
        seen = sorted(list_directory(os.fsencode(settings.data)))
    except InputMissing as error:
        report.add_error(settings.data, error)
        return []
    names, ignored, unread = [], [], []
    now = datetime.now(load_zone(settings.data_timezone)).replace(tzinfo=None)
    newest = now + timedelta(days=settings.max_stamp_ahead_days)
    for name, found in seen:
        stamp, why = read_name(name)
        if not stamp or not stat.S_ISREG(found.st_mode):
            ignored.append(f"{show_name(name)} ({f'its {why}' if why else 'not a regular file'})")
            if looks_like_data(name):
                unread.append(name)
        elif stamp_time(stamp) > newest:
            report.add(
                "warning",
                name,
                f"its stamp is more than {settings.max_stamp_ahead_days} day(s) ahead of the clock"
                f" ({now:%Y%m%d%H%M} in {settings.data_timezone}), so it would be held",
                "rename it, set data_timezone, or raise max_stamp_ahead_days",
            )
        else:
            names.append((stamp, name))
    report.data_files = len(names)
    if unread:
        report.add("warning", settings.data, describe_unread(len(unread), unread))
    if ignored:
        more = " …" if len(ignored) > _IGNORED_NAMED_MAX else ""
        report.add(
            "note",
            settings.data,
            f"{len(ignored):,} name(s) would be ignored: {', '.join(ignored[:_IGNORED_NAMED_MAX])}{more}",
            "only regular files named DATA_yyyyMMddHHmm.csv or .csv.gz are read; links are not followed",
        )
    if not names:
        report.add("note", settings.data, "contains no DATA_yyyyMMddHHmm.csv yet")
    return names


def _check_sample(report: Report, segment: Segment | None, ruleset: Ruleset) -> None:
    found = report.sample
    for name, why in found.unreadable.items():
        report.add("warning", name, f"cannot be read: {why}", "it would be held")
    for name, how in found.other_order.items():
        report.add("warning", name, how, "it would be held")
    for name, (lines, cause) in found.refused.items():
        words = f"none of its {lines:,} sampled lines is a record"
        if lines == 1:
            words = "its only sampled line is not a record"
        report.add("warning", name, f"{words}: {cause}" if cause else words)
    level: Level = (
        "warning" if sum(found.rejects.values()) > found.lines * _REJECTED_MANY_RATIO else "note"
    )
    for reason, many in found.rejects.items():
        place, _, line = found.examples[reason].partition(": ")
        report.add(
            level,
            place,
            f"{many:,} of {found.lines:,} sampled lines are malformed ({REASON_WORDS[reason]}): {line}",
        )
    if segment is None or not len(segment) or not found.records:
        return
    _check_formats(report, segment)
    if found.outside_over:
        report.add(
            "note",
            "hours",
            f"{found.outside_over:,} sampled record(s) exceed their threshold but lie outside their hours, such as"
            f" {found.outside_example}",
            "if DATA's clock is not the rules' clock, set data_timezone and rules_timezone",
        )
    known = {rule.service for rule in ruleset.rules}
    without = {service: many for service, many in found.services.items() if service not in known}
    if without and known:
        listed = ", ".join(str(service) for service in sorted(without)[:_SERVICES_NAMED_MAX])
        report.add(
            "note",
            "RULES",
            f"no rule for service {listed}: {sum(without.values()):,} sampled records of segment members",
        )


def _check_formats(report: Report, segment: Segment) -> None:
    """Report that DATA and SEGMENT write msisdns in different forms."""
    found = report.sample
    member = show_format(segment.sample(1)[0])
    for many, words, hint in (
        (
            found.without_zero,
            "without their leading zero: SEGMENT seems to have lost it",
            SPREADSHEET,
        ),
        (
            found.with_zero,
            "with one more leading zero: DATA seems to have lost it",
            "deliver MSISDNs with their leading zero",
        ),
    ):
        if many:
            # A few are faults of single lines; many are a fault of the whole file, or of one producer of two.
            level: Level = (
                "warning"
                if many > (found.records - found.matched) * OTHER_FORM_MIN_RATIO
                and many > found.records * _REJECTED_MANY_RATIO
                else "note"
            )
            forms = f"DATA writes {found.zero_format}, SEGMENT {member}"
            report.add(
                level,
                "SEGMENT",
                f"{many:,} of {found.records:,} sampled records would match {words} ({forms})",
                hint,
            )
    other_forms = found.other_forms.sentence()
    if other_forms and not found.other_forms.is_zero_alone:
        words, _, step = other_forms.partition("; ")
        report.add("warning", "SEGMENT", words, step)
    unexplained = not found.without_zero and not found.with_zero and not other_forms
    if unexplained and found.matched < found.records * MATCHED_MIN_RATIO:
        (form, _), *_ = found.formats.most_common(1)
        report.add(
            "warning" if found.records >= MATCHED_SAMPLE_RECORDS else "note",
            "SEGMENT",
            f"only {found.matched:,} of {found.records:,} sampled records match the segment:"
            f" DATA writes MSISDNs like {form}, SEGMENT like {member}",
            "write both in one form",
        )
