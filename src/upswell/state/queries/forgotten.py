"""Customers who were forgotten: their keyed hashes while these are known, and the notifications that went with them.

Owns the SQL that reads ``forgetting``, ``forgotten`` and ``forgotten_lines``, whose rows have no checksum. No msisdn is
in any of them.
"""

from collections import defaultdict

from upswell.reference.suppression import Forgetting
from upswell.state.codec import to_unsigned
from upswell.state.reader import StateReader
from upswell.state.rows import ForgottenLines


def forgettings(reader: StateReader) -> list[Forgetting]:
    """Return every forgetting in order; one whose days are closed has neither its key nor its hashes any more."""
    hashes: defaultdict[int, set[int]] = defaultdict(set)
    for number, value in reader._rows("SELECT forgetting, hash FROM forgotten"):
        hashes[number].add(to_unsigned(value))
    sql = "SELECT id, hash_key, people, first_batch, until_day, until_batch FROM forgetting ORDER BY id"
    return [
        Forgetting(number, key, frozenset(hashes[number]), *rest)
        for number, key, *rest in reader._rows(sql)
    ]


def forgotten_lines(reader: StateReader) -> list[ForgottenLines]:
    """Return the counts of the notifications that were forgotten."""
    sql = "SELECT batch, application, control, day, lines, bytes FROM forgotten_lines"
    return [
        ForgottenLines(batch, application, bool(control), *rest)
        for batch, application, control, *rest in reader._rows(sql)
    ]
