"""Names of the files that Upswell writes, made and parsed: staged, published and reject files, and shard files.

Owns the grammar of these names and nothing else; it never touches the disk. Within one application, name order is the
order of emission, and a published name belongs to one batch, so a consumer can use it as a key for idempotency.
"""

import re
from typing import NamedTuple

BATCH_MAX = 10**10 - 1
"""The highest batch number: ten digits, so that name order is the order of emission."""
OWN_DIRECTORY = ".upswell"
"""A directory of OUTPUT for what is not for consumers; the state, too, unless it is elsewhere."""
STAGING = "staging"
"""A directory in OWN_DIRECTORY: files that are written and not yet published."""
IDENTITY = "output.id"
"""A file in OWN_DIRECTORY that tells this OUTPUT from others."""
CONTROL = ".control"
"""A directory of OUTPUT that holds one directory per application for the control group."""
_STAGED = re.compile(r"([0-9]{10})_([0-9]{1,9})_([0-9]{12})(\.control)?\.csv")
_PUBLISHED = re.compile(r"NOTIFY_([0-9]{10})_([0-9]{12})\.csv")
_BEGUN = re.compile(r"begun-([0-9]{10})")
_OUTPUT_BEGUN = re.compile(r"\.upswell-begun-([0-9]{10})(\.settled)?")
_REJECTS = re.compile(r"REJECTS_([0-9]{10})\.tsv")
# A file that a task has not finished has the same name with a prefix or a suffix.
_SHARD = re.compile(r"\.?shard-([0-9]+)-([0-9]+)-([0-9a-f]+)\.(?:base|delta)(?:[.-].*)?")


class Staged(NamedTuple):
    """One application's output of one batch: written and durable, not yet published."""

    batch: int
    application: int
    """The checkpoint's id of the application."""
    stamp: str
    """Of the batch, 12 digits."""
    directory: str
    """Inside OUTPUT: the application's own, or the one in CONTROL."""
    length: int
    """Bytes of the content."""
    digest: bytes
    """SHA-256 of the content."""
    control: bool = False
    """True when it is for the control group."""

    @property
    def staged_name(self) -> str:
        """Its name in the staging directory."""
        kind = CONTROL if self.control else ""
        return f"{self.batch:010d}_{self.application}_{self.stamp}{kind}.csv"

    @property
    def published_name(self) -> str:
        """Its name in the application's directory."""
        return published_name(self.batch, self.stamp)


class StagedName(NamedTuple):
    """The parts of a staged file's name."""

    batch: int
    application: int
    stamp: str
    control: bool = False


class PublishedName(NamedTuple):
    """The parts of a published file's name."""

    batch: int
    stamp: str


def parse_staged(name: str) -> StagedName | None:
    """Return the parts of a staged file's name; None when it is not one of ours."""
    match = _STAGED.fullmatch(name)
    if match is None:
        return None
    return StagedName(int(match[1]), int(match[2]), match[3], match[4] is not None)


def place_of(directory: str, control: bool) -> str:
    """Return the place within OUTPUT of an application's directory; with ``control`` that of its control group."""
    return f"{CONTROL}/{directory}" if control else directory


def published_name(batch: int, stamp: str) -> str:
    """Return the name of a batch's file in an application's directory."""
    return f"NOTIFY_{batch:010d}_{stamp}.csv"


def parse_published(name: str) -> PublishedName | None:
    """Return the parts of a published file's name; None when it is not one of ours."""
    match = _PUBLISHED.fullmatch(name)
    return PublishedName(int(match[1]), match[2]) if match else None


def rejects_name(batch: int) -> str:
    """Return the name of a batch's reject file."""
    return f"REJECTS_{batch:010d}.tsv"


def parse_rejects(name: str) -> int | None:
    """Return the batch of a reject file; None when the name is not one of ours."""
    match = _REJECTS.fullmatch(name)
    return int(match[1]) if match else None


def begun_name(batch: int) -> str:
    """Return the name of the empty file that marks that the publication of this batch has begun."""
    return f"begun-{batch:010d}"


def parse_begun(name: str) -> int | None:
    """Return the batch of such a mark; None when the name is not one of ours."""
    match = _BEGUN.fullmatch(name)
    return int(match[1]) if match else None


class OutputMark(NamedTuple):
    """The parts of the name of the mark in OUTPUT itself, where no loss of OWN_DIRECTORY takes it away."""

    batch: int
    settled: bool = False
    """A recovery has published all up to this batch: what a copy still holds of it as staged is out of date."""

    @property
    def name(self) -> str:
        """Its name in OUTPUT."""
        return f".upswell-begun-{self.batch:010d}{'.settled' if self.settled else ''}"


def parse_output_mark(name: str) -> OutputMark | None:
    """Return the parts of the name of a mark in OUTPUT itself; None when it is not one of ours."""
    match = _OUTPUT_BEGUN.fullmatch(name)
    return OutputMark(int(match[1]), match[2] is not None) if match else None


class ShardName(NamedTuple):
    """The parts of a shard file's name."""

    shard: int
    batch: int
    attempt: str


def parse_shard(name: str) -> ShardName | None:
    """Return the parts of a shard file's name, finished or not; None when it is not one of ours."""
    match = _SHARD.fullmatch(name)
    return ShardName(int(match[1]), int(match[2]), match[3]) if match else None
