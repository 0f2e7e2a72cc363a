"""The versions of the rules that a state keeps, parsed.

Owns no SQL of its own: the reader checks each version's content against its digest.
"""

from collections.abc import Iterator

from upswell.reference.compiled import unpack_rules
from upswell.reference.rules import Ruleset, parse_rules
from upswell.state.reader import StateReader


def rulesets(reader: StateReader) -> Iterator[Ruleset]:
    """Yield every version of the rules that is kept, in the order in which they were first active."""
    for one in reader.references():
        if one.kind == "rules":
            yield parse_rules(unpack_rules(reader.reference("rules", one.version)))


def active_ruleset(reader: StateReader) -> Ruleset:
    """Return the active rules; a ruleset without any rule before the first version."""
    versions = reader.current_versions()
    if versions is None:
        return Ruleset((), ())
    return parse_rules(unpack_rules(reader.reference("rules", versions.rules)))
