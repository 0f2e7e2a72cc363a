"""The time zones of a state with the tables that it keeps: those of a batch, of the last batches, and of all of them.

Owns the way from the version that a batch names to tables. Nothing here looks at the tables that are installed, unless
the state has no others.
"""

from upswell.state.reader import StateReader
from upswell.zones import Zones


def zones_of(reader: StateReader, version: str) -> Zones:
    """Return the state's zones with the tables of a version; "" stands for zones of one name, which need none."""
    return Zones.parse(reader.reference("zones", version)) if version else reader.identity().zones


def active_zones(reader: StateReader) -> Zones:
    """Return the state's zones with the tables that were active last."""
    versions = reader.current_versions()
    return zones_of(reader, versions.zones if versions else "")


def all_zones(reader: StateReader) -> list[Zones]:
    """Return the state's zones with the tables of each kept version, or the active ones alone."""
    kept = [zones_of(reader, one.version) for one in reader.references() if one.kind == "zones"]
    return kept or [active_zones(reader)]
