"""Msisdns that are not in the segment as DATA writes them, but would be in another common form of the same number.

Owns the forms (trunk 0, country code, 00, none of them) and the sample of a run's records that is judged by them. It
changes no outcome: what a line is was decided by the kernel. The country code is learnt from the segment, and from
records that are in it. No msisdn is kept but one example of each change of form, which is masked when it is shown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from upswell.kernel import PATHS, Range, Segment, parse_lines
from upswell.privacy import show_format
from upswell.source.listing import read_at, read_head

OTHER_FORM_MIN_RATIO = 0.01
SAMPLED_BATCHES = 5  # at the beginning of a run; then one in SAMPLE_S
SAMPLE_S = 60.0
_SAMPLED_RANGES = 5
_SAMPLED_BYTES = 16 << 10  # of each: some 500 lines
_OUTSIDE_MAX = (
    100_000  # then older samples count half, so that a fault that is mended is no longer told
)
_LEARNT_FROM = 1000
_CODE_MIN_SHARE = 0.5
_CODE_DIGITS_MAX = 3
_DIGITS = range(5, 16)
_SHOWN_MAX = 3
_ZERO = (("0", ""), ("", "0"))

Change = tuple[str, str]
"""Digits to take from the front of an msisdn, and digits to put there."""


class OtherForms:
    """The sampled msisdns outside the segment, and how many of them are in it in another form."""

    def __init__(self) -> None:
        self._outside = 0
        self._hits = Counter[Change]()
        self._examples: dict[Change, str] = {}
        self._members_key = (0, 0)
        self._members: list[str] = []
        self._batches = 0
        self._sampled_at = 0.0

    @property
    def is_known(self) -> bool:
        """True once something was sampled that is not in the segment."""
        return self._outside > 0

    def sample(self, ranges: Sequence[Range], segment: Segment, now: float) -> None:
        """Sample the first lines of some ranges of a batch, unless one was sampled a short while ago.

        ``now``: of the monotonic clock. A file that cannot be read any more is left out.
        """
        if self._batches >= SAMPLED_BATCHES and now - self._sampled_at < SAMPLE_S:
            return
        self._batches, self._sampled_at = self._batches + 1, now
        step = max(len(ranges) // _SAMPLED_RANGES, 1)
        for wanted in ranges[::step][:_SAMPLED_RANGES]:
            self.add(list(_msisdns(wanted)), segment)

    def add(self, msisdns: Sequence[str], segment: Segment) -> None:
        """Add msisdns of records, whether they are in the segment or not."""
        outside = [msisdn for msisdn in msisdns if msisdn not in segment]
        if not outside:
            return
        if self._outside > _OUTSIDE_MAX:
            self._outside //= 2
            self._hits = Counter({change: n // 2 for change, n in self._hits.items()})
        self._outside += len(outside)
        members = (msisdn for msisdn in msisdns if msisdn in segment)
        codes = learn_codes(chain(self._members_of(segment), members))
        for msisdn in outside:
            change = next(
                (each for each in _changes(msisdn, codes) if _apply(msisdn, each) in segment), None
            )
            if change is not None:
                self._hits[change] += 1
                self._examples.setdefault(change, msisdn)

    def _members_of(self, segment: Segment) -> list[str]:
        """Return some members; finding them goes through all of a segment, so that is done once for each."""
        key = id(segment), len(segment)
        if self._members_key != key:
            self._members_key, self._members = key, segment.sample(_LEARNT_FROM)
        return self._members

    def share(self) -> float:
        """Return the share of those outside that are in the segment in another form; 0 while it is too small to tell.

        Each change of form counts from OTHER_FORM_MIN_RATIO on: fewer may be chance.
        """
        return sum(n for _, n in self._common()) / max(self._outside, 1)

    def sentence(self) -> str:
        """Return a sentence that shows the forms, masked; "" when there is nothing to tell."""
        common = self._common()
        if not common:
            return ""
        shown = [
            f"DATA writes {show_format(msisdn)} for {show_format(_apply(msisdn, change))} of SEGMENT"
            for change, _ in common[:_SHOWN_MAX]
            for msisdn in (self._examples[change],)
        ]
        return (
            f"{self.share():.0%} of the sampled MSISDNs outside the segment are in it in another form:"
            f" {', '.join(shown)}; deliver both in one form"
        )

    @property
    def is_zero_alone(self) -> bool:
        """True when the forms differ in one leading zero at most."""
        return all(change in _ZERO for change, _ in self._common())

    def _common(self) -> list[tuple[Change, int]]:
        least = self._outside * OTHER_FORM_MIN_RATIO
        return [(change, n) for change, n in self._hits.most_common() if n >= least]


def learn_codes(members: Iterable[str]) -> list[str]:
    """Return what may be the country code of these msisdns: what most international ones begin with."""
    heads = Counter[str]()
    numbers = 0
    for member in members:
        number = member.removeprefix("00")
        if not number.startswith("0"):
            numbers += 1
            heads.update(number[:digits] for digits in range(1, _CODE_DIGITS_MAX + 1))
    return [head for head, n in heads.items() if n >= numbers * _CODE_MIN_SHARE]


def _changes(msisdn: str, codes: Sequence[str]) -> Iterator[Change]:
    """Yield the changes of form that this msisdn allows."""
    if msisdn.startswith("00"):
        yield "00", ""
        yield from _to_national(msisdn, "00")
    elif msisdn.startswith("0"):
        yield "0", ""
        yield from (("0", zeros + code) for code in codes for zeros in ("", "00"))
    else:
        yield "", "00"
        yield "", "0"
        yield from (("", zeros + code) for code in codes for zeros in ("", "00"))
        yield from _to_national(msisdn, "")


def _to_national(msisdn: str, zeros: str) -> Iterator[Change]:
    """Yield the changes from an international number to a national one, with and without the trunk 0."""
    for digits in range(1, _CODE_DIGITS_MAX + 1):
        removed = msisdn[: len(zeros) + digits]
        yield removed, "0"
        yield removed, ""


def _apply(msisdn: str, change: Change) -> str:
    """Return the msisdn in the other form; one that is no msisdn unchanged."""
    removed, added = change
    other = added + msisdn[len(removed) :]
    return other if len(other) in _DIGITS else msisdn


def _msisdns(wanted: Range) -> Iterator[str]:
    try:
        if wanted.compressed:
            content, first = read_head(wanted.path, _SAMPLED_BYTES, compressed=True), True
        else:
            length = min(_SAMPLED_BYTES, wanted.end - wanted.start)
            content, first = read_at(wanted.path, wanted.start, length), wanted.start == 0
    except OSError:
        return
    lines = content[: content.rfind(b"\n") + 1]
    for parsed in parse_lines(lines, wanted.day_max, PATHS[0], first=first):
        if parsed.kind == "record":
            yield parsed.msisdn
