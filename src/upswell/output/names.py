"""The names of the files that we write: staged, published and reject files, and how a name maps back.

Owns the grammar of these names and nothing else; touches no disk. Within one application, name order is the order of
emission, and a published name belongs to one batch, so it can serve a consumer as the key that makes taking it twice
harmless.
"""

import re
from typing import NamedTuple

BATCH_MAX = 10**10 - 1
"""The highest number of a batch: ten digits, so that name order is the order of emission."""
CONTROL = ".control"
"""Of OUTPUT: holds a directory per application for the control group."""
_STAGED = re.compile(r"([0-9]{10})_([0-9]{1,9})_([0-9]{12})(\.control)?\.csv")
_PUBLISHED = re.compile(r"NOTIFY_([0-9]{10})_([0-9]{12})\.csv")
_BEGUN = re.compile(r"begun-([0-9]{10})")
_REJECTS = re.compile(r"REJECTS_([0-9]{10})\.tsv")
# What a task has not finished has the same name with more at an end.
_SHARD = re.compile(r"\.?shard-([0-9]+)-([0-9]+)-([0-9a-f]+)\.(?:base|delta)(?:[.-].*)?")


class Staged(NamedTuple):
    """One application's output of one batch: written and durable, not yet published."""

    batch: int
    application: int
    """The checkpoint's id of the application."""
    stamp: str
    """Of the batch, 12 digits."""
    directory: str
    """Inside OUTPUT: that of the application, or the one in CONTROL."""
    length: int
    """Bytes of the content."""
    digest: bytes
    """SHA-256 of the content."""
    control: bool = False
    """Whether it is for the control group."""

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
    """What the name of a staged file says."""

    batch: int
    application: int
    stamp: str
    control: bool = False


class PublishedName(NamedTuple):
    """What the name of a published file says."""

    batch: int
    stamp: str


def parse_staged(name: str) -> StagedName | None:
    """What the name says, or None when it is not one of ours."""
    match = _STAGED.fullmatch(name)
    if match is None:
        return None
    return StagedName(int(match[1]), int(match[2]), match[3], match[4] is not None)


def place_of(directory: str, control: bool) -> str:
    """The directory inside OUTPUT of an application's own, or of its control group."""
    return f"{CONTROL}/{directory}" if control else directory


def published_name(batch: int, stamp: str) -> str:
    """The name of a batch's file in an application's directory."""
    return f"NOTIFY_{batch:010d}_{stamp}.csv"


def parse_published(name: str) -> PublishedName | None:
    """What the name says, or None when it is not one of ours."""
    match = _PUBLISHED.fullmatch(name)
    return PublishedName(int(match[1]), match[2]) if match else None


def rejects_name(batch: int) -> str:
    """The name of a batch's reject file."""
    return f"REJECTS_{batch:010d}.tsv"


def parse_rejects(name: str) -> int | None:
    """The batch of a reject file, or None when the name is not one of ours."""
    match = _REJECTS.fullmatch(name)
    return int(match[1]) if match else None


def begun_name(batch: int) -> str:
    """The name that marks, by being there, that this batch has begun to be published."""
    return f"begun-{batch:010d}"


def parse_begun(name: str) -> int | None:
    """The batch of a mark, or None when the name is not one of ours."""
    match = _BEGUN.fullmatch(name)
    return int(match[1]) if match else None


class ShardName(NamedTuple):
    """What the name of a shard's file says."""

    shard: int
    batch: int
    attempt: str


def parse_shard(name: str) -> ShardName | None:
    """What the name of a shard's file says, finished or not; None when it is not one of ours."""
    match = _SHARD.fullmatch(name)
    return ShardName(int(match[1]), int(match[2]), match[3]) if match else None


OWN_DIRECTORY = ".upswell"


STAGING = "staging"


IDENTITY = "output.id"
