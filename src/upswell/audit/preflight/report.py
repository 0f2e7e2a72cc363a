"""The report of ``upswell check``: its findings, and what each part of the check learned.

Owns the levels of findings, their form and the exit code that follows from them. It reads nothing and decides nothing:
``check``, ``environment`` and ``lint`` add to it. Every text is escaped as it is added, so a report is safe to print.
"""

from dataclasses import asdict, dataclass, field
from typing import Literal, NamedTuple

from upswell.audit.preflight.sample import Sample
from upswell.errors import InputMissing, UpswellError
from upswell.privacy import escape
from upswell.reference.application import directory_name
from upswell.reference.origin import Origin
from upswell.reference.rules import DAY_MIN, Rule

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
EXIT_MISSING = 66
EXIT_UNUSABLE = 78


class Finding(NamedTuple):
    """One thing to know, and what to do about it."""

    level: Level
    where: str
    """A file and line ("RULES.csv:3"), a path, or a topic."""
    message: str
    hint: str = ""


@dataclass(slots=True)
class SegmentFacts:
    """The contents of SEGMENT, in counts."""

    dials: int = 0
    """Distinct msisdns."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Msisdns by number of digits."""
    duplicates: int = 0
    bad_lines: int = 0


@dataclass(slots=True)
class Report:
    """Everything the check found, and how it read what it checked."""

    found: list[Finding] = field(default_factory=list)
    strict: bool = False
    """A warning, too, means that a run could not start."""
    missing: bool = False
    """An input path is missing or unreadable."""
    rules: tuple[Rule, ...] = ()
    segment: SegmentFacts = field(default_factory=SegmentFacts)
    origins: dict[str, Origin] = field(default_factory=dict)
    """By kind (rules, segment, suppress), what was read."""
    data_files: int = 0
    sample: Sample = field(default_factory=Sample)

    def add(self, level: Level, where: object, message: str, hint: str = "") -> None:
        """Add a finding, with its texts escaped."""
        self.found.append(Finding(level, escape(str(where)), escape(message), escape(hint)))

    def add_error(self, where: object, error: UpswellError) -> None:
        """Add the error that a run would end with."""
        self.missing |= isinstance(error, InputMissing)
        self.add("error", where, error.message, error.hint)

    def ordered(self) -> list[Finding]:
        """Return the findings, the most severe first."""
        return [one for level in LEVELS for one in self.of(level)]

    def of(self, level: Level) -> list[Finding]:
        """Return the findings of one level, in the order they were added."""
        return [one for one in self.found if one.level == level]

    @property
    def exit_code(self) -> int:
        """66 when an input is missing, 78 when a run could not start, otherwise 0."""
        if self.missing:
            return EXIT_MISSING
        return EXIT_UNUSABLE if self.of("error") or self.is_refused_as_strict else 0

    @property
    def is_refused_as_strict(self) -> bool:
        """True when warnings are all that a start would be refused for."""
        return self.strict and not self.of("error") and bool(self.of("warning"))

    def to_json(self) -> dict[str, object]:
        """Return the report as one JSON object."""
        return {
            "ok": self.exit_code == 0,
            "strict": self.strict,
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
            "read": {kind: origin.to_json() for kind, origin in self.origins.items()},
            "data": {
                "files": self.data_files,
                "sampled_files": self.sample.files,
                "sampled_lines": self.sample.lines,
                "sampled_records": self.sample.records,
                "matched_records": self.sample.matched,
                "rejects": dict(self.sample.rejects),
            },
        }


def window_words(rule: Rule) -> str:
    """Return a rule's hours in words: "8:00 to 20:00", "22:00 to 6:00 the next day"."""
    if rule.start_min == 0 and rule.end_min == DAY_MIN:
        return "the whole day"
    start, end = (f"{minute // 60}:{minute % 60:02}" for minute in (rule.start_min, rule.end_min))
    return f"{start} to {end}" + (" the next day" if rule.end_min <= rule.start_min else "")
