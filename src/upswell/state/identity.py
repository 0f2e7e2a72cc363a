"""To what a state belongs: the settings that are its for good, and what a new state may begin over.

Owns the entries of the checkpoint's ``meta`` that say so. A state is never joined with totals or caps of other zones,
of another measure or of other open days; and a new one never sends again what an OUTPUT holds already.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from upswell.config.settings import PATHS, Settings
from upswell.errors import ConfigError
from upswell.output.sink import Sink
from upswell.privacy import escape
from upswell.state.checkpoint import Checkpoint
from upswell.state.rows import ARCHIVE, ARCHIVES_BEFORE, archives
from upswell.storage import syscalls
from upswell.zones import load_zone

EMBEDDED, SPARK = "embedded", "spark"
"""The engines. A state that does not say which has the first."""
ENGINE_KEYS = ("engine", "spark_shards")


def engine_of(shards: int | None) -> dict[str, str]:
    """What ``meta`` says of the engine of a state: with so many shards of its ledger in files, or without any."""
    if shards is None:
        return {"engine": EMBEDDED}
    return {"engine": SPARK, "spark_shards": str(shards)}


def shards(settings: Settings, meta: Mapping[str, str]) -> int:
    """How many shards a run on a cluster has: the state's own number holds unless another was asked for."""
    asked = settings.origins.get("shards", "default") != "default"
    return settings.shards if asked else int(meta.get("spark_shards", settings.shards))


def other_engine(
    meta: Mapping[str, str], pinned: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """(key, value, the state's) of what is another engine's; nothing while nothing was ever kept in the state."""
    if "measure" not in meta and "engine" not in meta:
        return
    for key, value in pinned.items():
        if (known := meta.get(key, EMBEDDED)) != value:
            yield key, value, known


def check(
    settings: Settings, checkpoint: Checkpoint, sink: Sink, pinned: Mapping[str, str]
) -> bool:
    """Whether the state is new. Raises ConfigError when it belongs to other settings, or must not begin here.

    ``pinned``: the engine, and what else of it belongs to a state for good.
    """
    meta = checkpoint.meta()
    for key, value, known in other_engine(meta, pinned):
        place = escape(str(checkpoint.state_dir))
        raise ConfigError(
            f"{key} is {value} but the state {place} was begun with {known}: each keeps the ledger in its own form",
            f"set {key} to {known}; or move the state: upswell state export --state {place} FILE, then"
            " upswell state import FILE --state NEW with the engine and shards that you want",
        )
    for key, value in fixed(settings).items():
        if meta.get(key, value) != value:
            raise ConfigError(
                f"{key} is {value} but this state was begun with {meta[key]}: totals and caps of the"
                " two cannot be joined",
                f"set {key} to {meta[key]}, or begin anew: another OUTPUT, and --since with the next"
                " day's 0000",
            )
    new = "measure" not in meta
    if new and not settings.adopt and (sink.begun or sink.published()):
        raise ConfigError(
            f"{escape(str(settings.output))} already holds notifications, or has held some, but the state"
            f" {escape(str(settings.state_dir))} knows nothing of them",
            "give --state with the state that wrote them, or --adopt to take over their caps",
        )
    return new


def claim(settings: Settings, checkpoint: Checkpoint, pinned: Mapping[str, str]) -> None:
    """Write down what the state belongs to, and where its run reads and writes. Again at each start."""
    paths = {name: str(getattr(settings, name).absolute()) for name in PATHS}
    # Those who look on must expect the same files, and find the suppression list.
    told = {
        "cadence_s": str(settings.cadence_s),
        "suppress": str(settings.suppress.absolute()) if settings.suppress else "",
    }
    # Neither a run without one nor one with another makes what was archived before forgotten.
    # Where a link leads, since that is where files go: it may lead elsewhere tomorrow.
    if settings.archive is not None:
        archive = syscalls.realpath(settings.archive)
        known = archives(checkpoint.meta())
        before = [str(path) for path in known if syscalls.realpath(path) != archive]
        told |= {ARCHIVE: archive, ARCHIVES_BEFORE: json.dumps(before)}
    checkpoint.set_meta({**fixed(settings), **paths, **told, **pinned})


def since(settings: Settings, checkpoint: Checkpoint) -> str | None:
    """The stamp before which files are skipped.

    ``now`` means the first start's now: a restart must not skip what came while it was down.
    """
    if settings.since != "now":
        return settings.since
    known = checkpoint.meta().get("since")
    if known is None:
        known = f"{datetime.now(load_zone(settings.zones.data)):%Y%m%d%H%M}"
        checkpoint.set_meta({"since": known})
    return known


def fixed(settings: Settings) -> dict[str, str]:
    """The settings that belong to a state for good, as ``meta`` holds them."""
    return {
        "data_timezone": settings.zones.data,
        "rules_timezone": settings.zones.rules,
        "measure": settings.measure,
        "keep_days": str(settings.keep_days),
    }
