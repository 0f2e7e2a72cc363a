"""Binds a state to its OUTPUT and to the settings that cannot change once it exists.

Owns the rules of that. The totals and caps of a state are never combined with those of other zones, another measure,
other open days or another form of the ledger; and a new state never sends again what an OUTPUT already holds.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from upswell.config.settings import Settings
from upswell.errors import ConfigError
from upswell.output.sink import Sink
from upswell.privacy import escape
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import LedgerForm, StateIdentity
from upswell.storage import syscalls
from upswell.zones import load_zone


class Mismatch(NamedTuple):
    """A setting that is not what the state is bound to."""

    key: str
    asked: object
    bound: object


def mismatches(settings: Settings, identity: StateIdentity) -> Iterator[Mismatch]:
    """Yield the settings that differ from those the state is bound to; none for a new state."""
    if identity.begun:
        for key, asked, bound in (
            ("data_timezone", settings.zones.data, identity.zones.data),
            ("rules_timezone", settings.zones.rules, identity.zones.rules),
            ("measure", settings.measure, identity.measure),
            ("keep_days", settings.keep_days, identity.keep_days),
        ):
            if asked != bound:
                yield Mismatch(key, asked, bound)


def ledger_mismatch(asked: LedgerForm, identity: StateIdentity) -> Mismatch | None:
    """Return how the form that is asked for differs from the ledger's; None when they agree, or it has no form yet."""
    bound = identity.ledger or asked
    if asked.engine != bound.engine:
        return Mismatch("engine", asked.engine, bound.engine)
    if asked.shards != bound.shards:
        return Mismatch("spark_shards", asked.shards, bound.shards)
    return None


def run_shards(settings: Settings, identity: StateIdentity) -> int:
    """Return the number of shards of a run on a cluster: the one that was asked for, the state's, or the default.

    A default that another version changed must not refuse the state.
    """
    asked = settings.origins.get("shards", "default") != "default"
    bound = identity.ledger.shards if identity.ledger else None
    return settings.shards if asked or bound is None else bound


def check_binding(
    settings: Settings, checkpoint: Checkpoint, sink: Sink, ledger: LedgerForm
) -> bool:
    """Return whether the state is new. ``ledger``: the form that the run's engine needs.

    Raises ConfigError when the state is bound to other settings, or must not begin over this OUTPUT.
    """
    identity = checkpoint.reader.identity()
    if found := ledger_mismatch(ledger, identity):
        place = escape(str(checkpoint.reader.state_dir))
        raise ConfigError(
            f"{found.key} is {found.asked} but the state {place} was created with {found.bound}: each keeps the"
            " ledger in its own form",
            f"set {found.key} to {found.bound}; or move the state: upswell state export --state {place} FILE, then"
            " upswell state import FILE --state NEW with the engine and shards that you want",
        )
    for key, asked, bound in mismatches(settings, identity):
        raise ConfigError(
            f"{key} is {asked} but this state was created with {bound}: totals and caps of the two cannot be"
            " combined",
            f"set {key} to {bound}, or begin anew: another OUTPUT, and --since with the next day's 0000",
        )
    if not identity.begun and not settings.adopt and (sink.begun or sink.published()):
        raise ConfigError(
            f"{escape(str(settings.output))} contains notifications, or once did, but no state in"
            f" {escape(str(settings.state_dir))} recorded them",
            "pass --state with the state that wrote them, or --adopt to keep their caps",
        )
    return not identity.begun


def bind(settings: Settings, checkpoint: Checkpoint, ledger: LedgerForm) -> None:
    """Record what the state is bound to, and where its run reads and writes. Call it at each start."""
    identity = checkpoint.reader.identity()
    checkpoint.set_identity(
        replace(
            identity,
            begun=True,
            zones=settings.zones,
            measure=settings.measure,
            keep_days=settings.keep_days,
            data=settings.data.absolute(),
            segment=settings.segment.absolute(),
            rules=settings.rules.absolute(),
            output=settings.output.absolute(),
            # Readers must expect the same files, and find the suppression list.
            suppress=settings.suppress.absolute() if settings.suppress else None,
            cadence_s=settings.cadence_s,
            archives=_archives(settings.archive, identity.archives),
            ledger=ledger,
        )
    )


def _archives(now: Path | None, known: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return this archive and those of earlier runs, which a run with another or none must not forget."""
    if now is None:
        return known
    # Files go where a link leads now: it may lead elsewhere tomorrow.
    real = syscalls.realpath(now)
    return (Path(real), *(path for path in known if syscalls.realpath(path) != real))


def since_stamp(settings: Settings, checkpoint: Checkpoint) -> str | None:
    """Return the stamp before which files are skipped; None: none are.

    ``now`` means the moment of the first start: a restart must not skip what arrived while the run was down.
    """
    if settings.since != "now":
        return settings.since
    identity = checkpoint.reader.identity()
    if identity.since is not None:
        return identity.since
    stamp = f"{datetime.now(load_zone(settings.zones.data)):%Y%m%d%H%M}"
    checkpoint.set_identity(replace(identity, since=stamp))
    return stamp
