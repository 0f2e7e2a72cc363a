"""The four paths of a run as places: none is another, and each holds what its name says.

Owns the refusals of a start, or of a check before it, whose paths are swapped or lie within each other, links resolved.
It reads names and the heads of small files, and changes nothing.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from upswell.config.settings import PATHS, Settings
from upswell.errors import ConfigError, InputMissing
from upswell.output.names import OWN_DIRECTORY
from upswell.privacy import escape
from upswell.reference.files import list_files
from upswell.reference.loading import HEAD_BYTES, holds_msisdns, holds_rules
from upswell.source.listing import list_directory, read_name, show_name
from upswell.state.reader import refuse_long_path
from upswell.storage import syscalls
from upswell.storage.mounts import doubts

_ORDER = "pass four different places in this order: DATA SEGMENT RULES OUTPUT"
_NAMED_MAX = 3


def check_places(settings: Settings, *, output_given: bool = True) -> None:
    """Check that the paths are four places, and that none is taken for another. Reads only.

    Args:
        settings: of the run.
        output_given: False when a check was asked for without an OUTPUT.

    Raises:
        ConfigError: two paths are one, DATA and OUTPUT lie within each other, SEGMENT and RULES share files, two of
            the paths seem swapped, or the state's is too long.
    """
    names = PATHS if output_given else PATHS[:3]
    shown = {name: escape(str(getattr(settings, name))) for name in names}
    real = {name: Path(syscalls.realpath(getattr(settings, name))) for name in names}
    _check_reference_files(settings)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            if real[one] == real[other]:
                raise ConfigError(
                    f"{one.upper()} {shown[one]} and {other.upper()} {shown[other]} are one place",
                    _ORDER,
                )
    if not output_given:
        return
    refuse_long_path(settings.state_dir)
    for inner, outer in (("data", "output"), ("output", "data")):
        if real[inner].is_relative_to(real[outer]):
            raise ConfigError(
                f"{inner.upper()} {shown[inner]} lies within {outer.upper()} {shown[outer]}",
                f"name a directory beside {outer.upper()}; {_ORDER}",
            )
    if name := _first_data_file(real["output"]):
        raise ConfigError(
            f"OUTPUT {shown['output']} holds a file of DATA, {show_name(name)}: are DATA and OUTPUT swapped?",
            f"{_ORDER}; if OUTPUT is right, move such files out of it",
        )
    if (real["data"] / OWN_DIRECTORY).is_dir() and not _first_data_file(real["data"]):
        raise ConfigError(
            f"DATA {shown['data']} holds {OWN_DIRECTORY}, as an OUTPUT does, and no file of DATA: are DATA and OUTPUT"
            " swapped?",
            f"{_ORDER}; if it was an OUTPUT once, name another directory as DATA",
        )


def doubted_places(settings: Settings) -> list[str]:
    """Return a sentence if OUTPUT, or the state, is on no file system known to keep what is written to it."""
    return doubts((("OUTPUT", settings.output), ("the state directory", settings.state_dir)))


def _first_data_file(directory: Path) -> str:
    """Return the name of a file of DATA directly in the directory; "" without one, or when it cannot be listed."""
    with suppress(InputMissing):
        for name, found in list_directory(os.fsencode(directory)):
            if read_name(name)[0] and stat.S_ISREG(found.st_mode):
                return name
    return ""


def _check_reference_files(settings: Settings) -> None:
    """Raise ConfigError when a file would be read as SEGMENT and as RULES, and name the files to pass."""
    try:
        segment, rules = (
            {syscalls.realpath(file): file for file in list_files(path)}
            for path in (settings.segment, settings.rules)
        )
    except InputMissing:
        return  # told by whoever reads them
    if not (shared := segment.keys() & rules.keys()):
        return
    heads = {file: _head(file) for file in sorted({*segment.values(), *rules.values()})}
    segments = [file for file, head in heads.items() if holds_msisdns(head)]
    raise ConfigError(
        f"SEGMENT {escape(str(settings.segment))} and RULES {escape(str(settings.rules))} share"
        f" {escape(Path(min(shared)).name)}: it would be read as msisdns and as rules",
        f"pass each file by itself: {_list(segments)} as SEGMENT,"
        f" {_list([file for file, head in heads.items() if holds_rules(head)])} as RULES",
    )


def _head(file: Path) -> bytes:
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(HEAD_BYTES)
    return b""


def _list(files: list[Path]) -> str:
    more = " …" if len(files) > _NAMED_MAX else ""
    return " or ".join(escape(str(file)) for file in files[:_NAMED_MAX]) + more or "the file of it"
