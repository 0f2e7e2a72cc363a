"""What a state records about itself as a whole: its id, the settings that bind it, where its last run read and wrote.

Owns the table ``meta``: its keys, the text form of their values, and the value that holds while a key is not set. The
table is read and written here alone, each row with its checksum.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from upswell.config.settings import CADENCE_S
from upswell.output.names import OWN_DIRECTORY, STAGING
from upswell.reference.origin import Origin
from upswell.semantics import KEEP_DAYS, Measure
from upswell.state.codec import row_checksum, storable_text
from upswell.zones import Zones

Engine = Literal["embedded", "spark"]
EMBEDDED: Engine = "embedded"
SPARK: Engine = "spark"


class LedgerForm(NamedTuple):
    """The form in which a state keeps its ledger for good: each engine needs one of its own."""

    engine: Engine
    shards: int | None
    """The number of shards that are in files; None: the ledger is in the database."""


def ledger_form(shards: int | None) -> LedgerForm:
    """Return the form of a ledger with so many shards in files; None: of one in the database."""
    return LedgerForm(EMBEDDED if shards is None else SPARK, shards)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIdentity:
    """The facts that a state records about itself; ``Checkpoint.set_identity`` stores a changed copy."""

    state_id: str = ""
    """No other state has it: the checksums of batches cover it."""
    begun: bool = False
    """A first run has bound the state to its settings; those of the last run follow, up to ``cadence_s``."""
    zones: Zones = field(default_factory=Zones)
    measure: Measure = "total"
    keep_days: int = KEEP_DAYS
    data: Path | None = None
    segment: Path | None = None
    rules: Path | None = None
    output: Path | None = None
    suppress: Path | None = None
    """None: the last run had no suppression list."""
    cadence_s: int = CADENCE_S
    archives: tuple[Path, ...] = ()
    """Every directory that finished files were moved to, the last one first."""
    ledger: LedgerForm | None = None
    """None until the first run or an import decides it."""
    since: str | None = None
    """The moment of the first start with ``--since now``, a stamp yyyyMMddHHmm."""
    output_id: str | None = None
    """The id of the OUTPUT that the state belongs to; None until a run has opened one."""
    first_batch: int = 1
    """The number of the first batch: 1, or the one after those of an adopted OUTPUT."""
    adopted_bytes: int | None = None
    """Length of the delta with the caps of an adopted OUTPUT; None: none was adopted."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """By kind, the reference version accepted last; "": the kind is off. A kind that was never set is absent."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """By kind, what that version was read from."""
    pruned_before: int = 0
    """Notifications of earlier days are deleted, or are about to be; 0: none ever were."""
    exported: tuple[Path, ...] = ()
    """The files that the state was exported to or imported from. Some may be gone, and the last may be half written."""

    other_forms: str = ""
    """A sentence about msisdns of DATA in another form than the segment's, as the last run that could tell saw it."""

    def output_of(self, state_dir: Path) -> Path | None:
        """Return OUTPUT; None before the first run. A state inside its OUTPUT may have been moved with it since."""
        return state_dir.absolute().parent if _is_inside(state_dir) else self.output

    def own_directory(self, state_dir: Path) -> Path | None:
        """Return OUTPUT's own directory, which holds its identity and staging; None and moves as in ``output_of``."""
        if _is_inside(state_dir):
            return state_dir
        return self.output / OWN_DIRECTORY if self.output else None

    def entries(self) -> dict[str, str]:
        """Return what the table holds, by key in order; a key that is not set is absent."""
        values: dict[str, object] = {name: getattr(self, name) for name in _ALWAYS}
        values |= {f"{kind}{_VERSION}": version for kind, version in self.versions.items()}
        values |= {
            f"{kind}{_ORIGIN}": json.dumps(origin.to_json())
            for kind, origin in self.origins.items()
        }
        if self.begun:
            values |= {name: getattr(self, name) for name in _WHEN_BEGUN}
            values |= {
                "data_timezone": self.zones.data,
                "rules_timezone": self.zones.rules,
                "suppress": self.suppress or "",
            }
        if self.archives:
            last, *before = self.archives
            values |= {"archive": last, "archives_before": _list_text(before)}
        if self.ledger is not None:
            values |= {"engine": self.ledger.engine, "spark_shards": self.ledger.shards}
        if self.adopted_bytes is not None:
            values["first_batch"] = self.first_batch
        if self.pruned_before:
            values["pruned_before"] = self.pruned_before
        if self.other_forms:
            values["other_forms"] = self.other_forms
        if self.exported:
            values["exported"] = _list_text(self.exported)
        return {
            key: storable_text(str(value))
            for key, value in sorted(values.items())
            if value is not None
        }

    @classmethod
    def of_entries(cls, entries: Mapping[str, str]) -> Self:
        """Return what these entries say. Raises ValueError for a value that ``entries`` does not give."""
        values: dict[str, Any] = {
            name: parse(entries[name]) for name, parse in _PARSERS.items() if name in entries
        }
        if begun := "measure" in entries:
            values["keep_days"] = int(entries["keep_days"])
            values["zones"] = Zones(entries["data_timezone"], entries["rules_timezone"])
        if "archive" in entries:
            before = json.loads(entries["archives_before"])
            values["archives"] = tuple(map(Path, (entries["archive"], *before)))
        if "engine" in entries:
            shards = entries.get("spark_shards")
            values["ledger"] = ledger_form(None if shards is None else int(shards))
        values["versions"] = {
            key.removesuffix(_VERSION): version
            for key, version in entries.items()
            if key.endswith(_VERSION)
        }
        values["origins"] = {
            key.removesuffix(_ORIGIN): Origin.of_json(json.loads(text))
            for key, text in entries.items()
            if key.endswith(_ORIGIN)
        }
        return cls(begun=begun, **values)


def read_identity(db: sqlite3.Connection) -> StateIdentity:
    """Return what the database records about its state. Raises ValueError when an entry is damaged."""
    entries = {}
    for key, value, checksum in db.execute("SELECT key, value, row_checksum FROM meta"):
        if checksum != row_checksum(key, value):
            raise ValueError(key)
        entries[key] = value
    try:
        return StateIdentity.of_entries(entries)
    except KeyError as error:
        raise ValueError(str(error)) from None


def write_identity(db: sqlite3.Connection, before: StateIdentity, after: StateIdentity) -> None:
    """Write the entries in which the two differ. The caller has read ``before``, in the transaction that it commits."""
    known, entries = before.entries(), after.entries()
    db.executemany(
        "DELETE FROM meta WHERE key = ?", [(key,) for key in known.keys() - entries.keys()]
    )
    db.executemany(
        "INSERT INTO meta VALUES (?, ?, ?)"
        " ON CONFLICT(key) DO UPDATE SET value = excluded.value, row_checksum = excluded.row_checksum",
        [
            (key, value, row_checksum(key, value))
            for key, value in entries.items()
            if known.get(key) != value
        ],
    )


def _is_inside(state_dir: Path) -> bool:
    return (state_dir / STAGING).is_dir()


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(map(Path, json.loads(text)))


def _list_text(paths: Iterable[Path]) -> str:
    return json.dumps([str(path) for path in paths])


_VERSION, _ORIGIN = "_version", "_origin"
_ALWAYS = ("state_id", "since", "output_id", "adopted_bytes")
_WHEN_BEGUN = ("measure", "keep_days", "data", "segment", "rules", "output", "cadence_s")
_PARSERS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("state_id", "since", "output_id", "measure", "other_forms"), str),
    **dict.fromkeys(("cadence_s", "first_batch", "adopted_bytes", "pruned_before"), int),
    **dict.fromkeys(("data", "segment", "rules", "output"), Path),
    "suppress": lambda text: Path(text) if text else None,
    "exported": _paths,
}
"""How to read the fields that are one entry of the same name."""
