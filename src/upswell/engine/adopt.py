"""Adopts an OUTPUT that another state wrote: its daily caps and its last batch number.

Owns how caps are derived from published files. It reads notification files, and writes only to the checkpoint, in one
transaction: a crash leaves all of the adoption or none.
"""

from typing import NamedTuple

from upswell.errors import ConfigError
from upswell.kernel import Ledger
from upswell.output.names import BATCH_MAX, CONTROL
from upswell.output.sink import Sink
from upswell.reference.application import application_of
from upswell.semantics import Record, parse_record
from upswell.state.checkpoint import Checkpoint
from upswell.zones import DAY_MAX, Zones


class Adopted(NamedTuple):
    """The result of an adoption."""

    files: int
    notifications: int
    """Lines whose caps were adopted."""
    unreadable: int
    """Lines that are not a record, or not in the directory of an application, so that no cap follows from them."""
    last_batch: int


def adopt(sink: Sink, checkpoint: Checkpoint, zones: Zones) -> Adopted:
    """Give a state that has no batch yet the caps and the last batch number that follow from the files in OUTPUT.

    Raises:
        ConfigError: a file has the highest possible batch number. StorageError: OUTPUT cannot be read.
    """
    ledger = Ledger()
    files = notifications = unreadable = 0
    last_batch = sink.begun
    for published in sink.published():
        if published.batch >= BATCH_MAX:
            raise ConfigError(
                f"{published.name} has the highest number that a batch can have",
                "rename it to a lower number: later files must come after it in the order of names",
            )
        files += 1
        last_batch = max(last_batch, published.batch)
        application = application_of(published.directory.removeprefix(CONTROL + "/"))
        for line in sink.read(published).split(b"\n")[:-1]:
            record = parse_record(line, DAY_MAX)
            if application is not None and isinstance(record, Record):
                ledger.add_cap(record.msisdn, application, zones.convert(record.moment).day)
                notifications += 1
            else:
                unreadable += 1
    checkpoint.adopt(last_batch, ledger.take_delta())
    return Adopted(files, notifications, unreadable, last_batch)
