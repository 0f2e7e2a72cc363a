"""``upswell check``: checks before a run, as text or JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import Part, Table
from upswell.cli.terminal import Command, say, say_json

if TYPE_CHECKING:
    from upswell.audit.preflight.report import Report
    from upswell.config.settings import Settings

EXAMPLES = (
    "upswell check data/ segment/ rules/",
    "upswell check data/ segment/ rules/ out/           also directories and state",
    "upswell check data/ segment/ rules/ out/ --show-config",
    "upswell check data/ segment/ rules/ --strict       exit with 78 on any warning",
    "upswell check data/ segment/ rules/ --json | jq '.findings[].message'",
)


@click.command(
    "check",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Check everything a run depends on, without changing anything: RULES and SEGMENT line by"
        " line, settings, time zones, a sample of DATA and, if OUTPUT is given, directories and"
        " state. Reports how each rule was read, what is wrong, and what to write instead.\n\nExit"
        " code: 0 if a run can start, 66 if a path is missing, 78 if a run could not start. Notes never"
        " change it; warnings do with --strict."
    ),
)
@options.paths()
@options.settings
@click.option(
    "--show-config", is_flag=True, help="List all settings with their values and sources."
)
@options.JSON
def command(config: str | None, show_config: bool, as_json: bool, **given: Any) -> int:
    """Check, print the findings, and return 0 if a run can start."""
    from upswell.audit.preflight import check
    from upswell.config.sources import gather, settings_from
    from upswell.errors import ConfigError

    try:
        gathered = gather(options.fields(given), Path(config) if config else None)
        output_given = gathered.path("output") is not None
        if not output_given:
            gathered.values["output"] = Path("OUTPUT")
            gathered.origins["output"] = "not given"
        settings = settings_from(gathered)
    except ConfigError as error:
        if as_json:
            finding = {
                "level": "error",
                "where": "settings",
                "message": error.message,
                "hint": error.hint,
            }
            say_json({"ok": False, "findings": [finding]})
        raise
    report = check.check(settings, output_given=output_given)
    if as_json:
        extra = {"config": _config_json(settings)} if show_config else {}
        say_json(report.to_json() | extra)
    else:
        if show_config:
            say(*_config_parts(settings))
        say(*_describe(report, settings))
    return report.exit_code


def _config_json(settings: "Settings") -> dict[str, dict[str, str]]:
    from upswell.config.settings import FIELDS, describe

    return {
        name: {"value": describe(name, getattr(settings, name)), "from": settings.origins[name]}
        for name in FIELDS
    }


def _config_parts(settings: "Settings") -> list[Part]:
    rows = [(name, row["value"], row["from"]) for name, row in _config_json(settings).items()]
    return ["Settings", Table(rows), ""]


def _describe(report: "Report", settings: "Settings") -> list[Part]:
    from upswell.cli.summary_text import plural

    lines = [
        *_rules(report, settings),
        *_segment(report, settings),
        *_data(report, settings),
    ]
    if report.found:
        lines.append("")
    for one in report.ordered():
        lines.append(f"{one.level}: {one.where}: {one.message}")
        if one.hint:
            lines.append(f"  next: {one.hint}")
    errors, warnings = len(report.of("error")), len(report.of("warning"))
    verdict = f"not usable: {plural(errors, 'error')}" if errors else "ok: a run can start"
    if report.is_refused_as_strict:
        verdict = f"not usable: {plural(warnings, 'warning')}, and --strict allows none"
    elif warnings:
        verdict = f"{verdict}, {plural(warnings, 'warning')}"
    return [*lines, "", verdict]


def _rules(report: "Report", settings: "Settings") -> list[Part]:
    from upswell.audit.preflight.report import window_words
    from upswell.cli.summary_text import plural
    from upswell.reference.application import directory_name

    title = f"RULES    {settings.rules}: {plural(len(report.rules), 'rule')}, hours in {settings.zones.rules}"
    rows = [("service", "application", "hours", "volume", "directory")]
    rows += [
        (
            str(rule.service),
            rule.application,
            window_words(rule),
            f"more than {rule.threshold:,}",
            f"{settings.output.name}/{directory_name(rule.application)}/",
        )
        for rule in report.rules
    ]
    title_and_files: list[Part] = [title, *_files(report, "rules")]
    return [*title_and_files, Table(rows)] if report.rules else title_and_files


def _segment(report: "Report", settings: "Settings") -> list[str]:
    from upswell.cli.summary_text import plural

    facts = report.segment
    lengths = ", ".join(f"{n:,} of {digits} digits" for digits, n in sorted(facts.lengths.items()))
    return [
        f"SEGMENT  {settings.segment}: {plural(facts.dials, 'MSISDN')}"
        + (f" ({lengths})" if lengths else ""),
        *_files(report, "segment"),
    ]


def _files(report: "Report", kind: str) -> list[str]:
    origin = report.origins.get(kind)
    return [f"  read from {origin.describe_files(kind)}"] if origin else []


def _data(report: "Report", settings: "Settings") -> list[str]:
    from upswell.cli.summary_text import plural

    found = report.sample
    words = f"DATA     {settings.data}: {plural(report.data_files, 'file')}, times in {settings.zones.data}"
    if not found.files:
        return [words]
    return [
        words,
        f"  sampled {plural(found.lines, 'line')} of {plural(len(found.files), 'file')}:"
        f" {plural(found.records, 'record')}, {found.matched:,} in the segment",
    ]
