"""The versions of the reference, the policy and the zones' tables that a log names, loaded as a replay needs them.

Owns the loading of kept versions. A log names one version of each kind for long stretches, so the last one of each is
kept, and no more: segments are large. It only reads.
"""

from upswell.kernel import Rules, Segment
from upswell.reference.compiled import compile_rules, unpack_rules
from upswell.reference.policy import OFF, Policy
from upswell.reference.rules import Ruleset, parse_rules
from upswell.state.queries.zones import zones_of
from upswell.state.reader import StateReader
from upswell.zones import Zones


class VersionCache:
    """Loads versions by name, and keeps the last one of each kind. Raises StorageError when one is damaged."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._rules: tuple[str, Ruleset, Rules] | None = None
        self._segment: tuple[str, Segment] | None = None
        self._suppressed: tuple[str, Segment | None] = "", None
        self._policy: tuple[str, Policy] = "", OFF
        self._zones: tuple[str, Zones] | None = None

    def rules(self, version: str) -> tuple[Ruleset, Rules]:
        """Return the rules of this version, parsed and compiled."""
        if self._rules is None or self._rules[0] != version:
            ruleset = parse_rules(unpack_rules(self._reader.reference("rules", version)))
            self._rules = version, ruleset, compile_rules(ruleset)
        return self._rules[1:]

    def segment(self, version: str) -> Segment:
        """Return the segment of this version."""
        if self._segment is None or self._segment[0] != version:
            self._segment = version, Segment.decode(self._reader.reference("segment", version))
        return self._segment[1]

    def suppressed(self, version: str) -> Segment | None:
        """Return the suppression list of this version; None for the empty version, which stands for none."""
        if self._suppressed[0] != version:
            content = self._reader.reference("suppress", version) if version else b""
            self._suppressed = version, Segment.decode(content) if version else None
        return self._suppressed[1]

    def policy(self, version: str) -> Policy:
        """Return the policy of this version; one that is off for the empty version."""
        if self._policy[0] != version:
            content = self._reader.reference("policy", version) if version else b""
            self._policy = version, Policy.parse(content)
        return self._policy[1]

    def zones(self, version: str) -> Zones:
        """Return the state's time zones with the tables of this version."""
        if self._zones is None or self._zones[0] != version:
            self._zones = version, zones_of(self._reader, version)
        return self._zones[1]
