"""What a version of RULES, SEGMENT or SUPPRESS was read from: its files, and its lines that were left out.

Owns that record, which the state keeps of each active version, the names that look like backup copies, and the words
for both. It reads no files. A record names the first files and lines alone, so it is small however many there are, and
its texts are safe to show.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from upswell.privacy import mask_digits

FILES_NAMED_MAX = 10
LEAVE_COPY_OUT = "to leave it out, move it to another directory or change its ending"
_COPIES_NAMED_MAX = 3
_LEFT_OUT_NAMED_MAX = 3
# "old" and "copy" count at the end alone, where people and file managers put them: an old_town.csv is no copy. Beside
# a word only what is no letter may stand, so that neither threshold.csv nor _older_phones.csv is meant.
_COPY = re.compile(
    r"~|(?<![^\W\d_])(?:bak|backup)(?![^\W\d_])|(?<![^\W\d_])copy[ _-]of(?![^\W\d_])"
    r"|(?<![^\W\d_])(?:copy|old)[\W\d_]*$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r" ?\([0-9]+\)$")  # as a browser writes a name that is there already


class OriginFile(NamedTuple):
    """A file of a version."""

    name: str
    entries: int
    """Its rules that are active; of SEGMENT and SUPPRESS its lines."""


class Origin(NamedTuple):
    """The files of a version, and what of them was left out."""

    files: tuple[OriginFile, ...] = ()
    """The first FILES_NAMED_MAX, in the order in which they are read."""
    more_files: int = 0
    copies: tuple[str, ...] = ()
    """The first names, of all files, that look like backup copies of another."""
    more_copies: int = 0
    bad_lines: int = 0
    left_out: tuple[str, ...] = ()
    """The first of these lines, in sentences, and how many more there are."""

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        entries: Sequence[int],
        bad_lines: int = 0,
        left_out: Sequence[str] = (),
    ) -> "Origin":
        """Return the record of these files. ``entries``: by file, at least of the first FILES_NAMED_MAX."""
        shown = names[:FILES_NAMED_MAX]
        # Of a file that is alone there is nothing that it could be a copy of.
        beside = frozenset(names)
        copies = [
            mask_digits(name) for name in names if len(names) > 1 and looks_like_copy(name, beside)
        ]
        return cls(
            tuple(
                OriginFile(mask_digits(name), n) for name, n in zip(shown, entries, strict=False)
            ),
            len(names) - len(shown),
            tuple(copies[:_COPIES_NAMED_MAX]),
            len(copies[_COPIES_NAMED_MAX:]),
            bad_lines,
            tuple(left_out),
        )

    def to_json(self) -> dict[str, object]:
        """Return it as an object for JSON."""
        return self._asdict() | {"files": [file._asdict() for file in self.files]}

    @classmethod
    def of_json(cls, known: Any) -> "Origin":
        """Return what ``to_json`` gave. Raises ValueError for anything else."""
        try:
            return cls(
                tuple(OriginFile(**file) for file in known["files"]),
                known["more_files"],
                tuple(known["copies"]),
                known["more_copies"],
                known["bad_lines"],
                tuple(known["left_out"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from None

    def describe_files(self, kind: str) -> str:
        """Return its files with their counts: "RULES.csv (7 rules), RULES (copy).csv (1 rule)"."""
        noun = "rule" if kind == "rules" else "line"
        words = [f"{name} ({n:,} {noun}{'s' * (n != 1)})" for name, n in self.files]
        return ", ".join(words) + (f" and {self.more_files:,} more" if self.more_files else "")

    def describe_copies(self) -> str:
        """Return what is to be said of names that look like backup copies, without its subject; "" without any."""
        if not self.copies:
            return ""
        more = f" and {self.more_copies:,} more" if self.more_copies else ""
        return (
            f"is also read from what looks like a backup copy ({', '.join(self.copies)}{more}), as from every *.csv of"
            " its directory"
        )

    def describe_left_out(self, kind: str) -> str:
        """Return a sentence about the lines that were left out; "" without any."""
        if not self.bad_lines:
            return ""
        lines = "1 line" if self.bad_lines == 1 else f"{self.bad_lines:,} lines"
        more = " …" if len(self.left_out) > _LEFT_OUT_NAMED_MAX else ""
        shown = "; ".join(self.left_out[:_LEFT_OUT_NAMED_MAX])
        return f"{kind.upper()} is active without {lines} of it: {shown}{more}"

    def warnings(self, kind: str) -> list[str]:
        """Return what is to be said of it at each start, in sentences."""
        return [f"left out: {line}" for line in self.left_out] + copies_of({kind: self})


def copies_of(origins: Mapping[str, Origin]) -> list[str]:
    """Return a sentence about each version with names that look like backup copies. ``origins``: by kind."""
    return [
        f"{kind.upper()} {words}: {LEAVE_COPY_OUT}"
        for kind, origin in origins.items()
        if (words := origin.describe_copies())
    ]


NO_ORIGIN = Origin()
"""Of a version that was read from no files: a policy, or a list that is off."""


def looks_like_copy(name: str, beside: Collection[str] = ()) -> bool:
    """Return whether a file's name looks like that of a backup copy: "RULES (copy).csv", "SEGMENT_old.csv".

    ``beside``: the names in its directory. A number in brackets tells a copy only beside the name without it: parts of
    a segment are numbered, too.
    """
    stem = name.removesuffix(".csv")
    unnumbered = _NUMBERED.sub("", stem)
    is_numbered = unnumbered != stem and f"{unnumbered}.csv" in beside
    return is_numbered or _COPY.search(stem) is not None
