"""One history out of a seed: batches, a consumer, and processes that are struck; and the law that holds throughout.

Owns the law. It is looked at before every call: what is to be seen under a final name was committed, is complete and in
order, and was not taken before. When a recovery or a commit returns, all of it is durable. After the last, undisturbed
process every notification of every committed batch was taken or is to be seen, once.

A consumer that takes a file also makes that last, once the file's move does. So the one exception is exact: the power
goes before the move is durable, and after the consumer has taken the file. Then the same name with the same bytes may
come again.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import cast

from support.power.calls import ERROR, KILL, POWER, Broken, Calls, Gone
from support.power.memory import Memory
from support.power.platter import Change, Inode, Platter, spoiled
from upswell.engine.commit import Committer
from upswell.errors import UpswellError
from upswell.output.names import (
    CONTROL,
    OWN_DIRECTORY,
    STAGING,
    begun_name,
    parse_begun,
    parse_output_mark,
    rejects_name,
)
from upswell.output.sink import Sink
from upswell.reference.versions import Versions
from upswell.state.batch import Batch, LogRange, Output
from upswell.state.checkpoint import Checkpoint

APPLICATIONS = ("Twitter", "WhatsApp", "a/b", "Radio")
VERSIONS = Versions("r" * 64, "s" * 64)
BATCHES_MAX = 4
STRUCK_MAX = 5  # processes in a row that are struck
START_CALLS, RECOVERY_CALLS, COMMIT_CALLS = 60, 30, 40  # about as many as each of them makes
OUTPUT = Path("/place/out")
OUTSIDE = Path("/place/state")
Name = tuple[str, str]


class History:
    """The world of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.platter = Platter()
        self.calls = Calls(self.platter, rng, self.look)
        self.counts: Counter[str] = Counter()
        """What happened, by kind."""
        self.output = OUTPUT.parts[1:]
        self.state = rng.choice((OUTPUT / OWN_DIRECTORY, OUTSIDE))
        self.memory = Memory(self.state, self.calls, rng)
        self.goal = rng.randint(1, BATCHES_MAX)
        self.attempts = 0
        self.disturbed = False
        self.appetite = rng.choice((0.0, 0.02, 0.2, 1.0))
        """How likely it is that the consumer takes something between two calls."""
        self.visible: dict[Name, Inode] = {}
        """What is to be seen under its final name, with its directory."""
        self.taken: dict[Name, tuple[Inode, Change]] = {}
        """What the consumer took, with its directory and the move by which it came there."""
        self.again: set[Name] = set()
        """What was taken and may come again."""
        place = Inode(0o755, directory=True)
        self.platter.make(self.platter.root, "place", place)
        self.platter.sync(self.platter.root)

    def run(self) -> str:
        """Live it to its end; what is wrong, or nothing."""
        try:
            with self.calls.in_place():
                for _ in range(self.rng.randint(1, STRUCK_MAX)):
                    self._process(disturbed=True)
                self._process(disturbed=False)
            self._end()
        except Broken as broken:
            return str(broken)
        return ""

    def _process(self, *, disturbed: bool) -> None:
        """One process, from its start to its end or to what strikes it, and what becomes of the disk then."""
        rng = self.rng
        strike = rng.choice((KILL, POWER, POWER, POWER, ERROR))
        self.calls.note("-- a process starts")
        self.calls.start(strike)
        self.disturbed = disturbed
        try:
            self._work()
        except Gone:
            pass
        except UpswellError as error:
            if not self.calls.failed:
                raise Broken(f"stopped without a fault: {error}") from error
        except OSError as error:
            raise Broken(f"no error of ours: {error!r}") from error
        self.calls.end()
        if self.calls.struck:
            self.counts[strike] += 1
        if self.calls.given_up or (strike == POWER and disturbed):
            self._lose_power()
        self._lose_staged()
        self.look()

    def _work(self) -> None:
        self._aim(0.2, START_CALLS)
        with Sink.open(OUTPUT) as sink, self.memory.opened():
            committer = Committer(cast("Checkpoint", self.memory), sink)
            self._aim(0.4, RECOVERY_CALLS)
            recovered = committer.recover()
            self.counts["rebuilt"] += recovered.rebuilt
            self._settled("the recovery")
            if names := sink.staged_names():
                raise Broken(f"after the recovery there is still {names} in staging")
            while self.memory.last_batch() < self.goal:
                self._aim(0.5, COMMIT_CALLS)
                batch = self._batch()
                committer.commit(batch)
                self._settled("the commit")
                self._marked(batch)

    def _aim(self, likely: float, calls: int) -> None:
        """Let one of the next calls be struck, or not."""
        if self.disturbed and self.rng.random() < likely:
            self.calls.aim(self.rng.randint(1, calls))

    def _batch(self) -> Batch:
        """The next batch, another one at each attempt."""
        rng, number = self.rng, self.memory.last_batch() + 1
        self.attempts += 1
        outputs = []
        for name in rng.sample(APPLICATIONS, rng.choice((0, 1, 1, 2, 3))):
            lines = rng.choice((1, 3, 40))
            line = f"{name},{number},{self.attempts},{rng.getrandbits(32):010}\n"
            outputs.append(Output(name, line.encode() * lines))
        kept = [
            Output(name, f"{name},kept,{number},{self.attempts}\n".encode())
            for name in rng.sample(APPLICATIONS, rng.choice((0, 0, 1, 2)))
        ]
        notified = sum(output.content.count(b"\n") for output in outputs)
        rejected = rng.choice((0, 1, 30))
        stamp = f"20200417{self.attempts:04}"
        return Batch(
            number=number,
            ranges=[LogRange(number, 0, "DATA", stamp, 0, 1, stamp, VERSIONS)],
            files=[], outputs=outputs, applications=APPLICATIONS,
            notifications=[(0, 0, "", 0, 0, b"")] * notified,
            rejects=f"DATA\t{number}\t{self.attempts}\n".encode() * rejected,
            dropped=[], delta=b"", compactions=[], day_open=0, lines=notified + rejected + len(kept),
            outcomes={"notified": notified, "control": len(kept), "rejected": rejected},
            reasons={"columns": rejected}, control_outputs=kept, control=[(0, 0, "", 0, 0, b"")] * len(kept),
        )  # fmt: skip

    def look(self) -> None:
        """What can be seen in OUTPUT at this moment obeys the law; then the consumer may take some of it."""
        if self.platter.changed:
            self.platter.changed = False
            self._judge()
        if self.appetite and self.visible and self.rng.random() < self.appetite:
            names = sorted(self.visible)
            for name in names if self.appetite == 1 else names[:1]:
                self._take(name)

    def _judge(self) -> None:
        self.visible = {}
        output = self.platter.root.find(*self.output)
        for place, directory in _places(output):
            for name, inode in directory.names.items():
                self.visible[place, name] = directory
                self._judge_file((place, name), inode)
                expect(directory.mode == 0o750, f"{place} has the mode {directory.mode:o}")
        missing = set()
        for place, name in self.memory.published:
            if (place, name) not in self.visible and (place, name) not in self.taken:
                missing.add(place)
            else:
                expect(place not in missing, f"{place}/{name} came before an earlier one")

    def _judge_file(self, name: Name, inode: Inode) -> None:
        shown = "/".join(name)
        content = self.memory.published.get(name)
        expect(content is not None, f"{shown} is to be seen, but was not committed")
        expect(content == inode.data, f"{shown} is to be seen with another content")
        expect(inode.mode == 0o640, f"{shown} has the mode {inode.mode:o}")
        expect(name not in self.taken or name in self.again, f"{shown} came a second time")

    def _take(self, name: Name) -> None:
        directory = self.visible.pop(name)
        self.calls.note(f"-- the consumer takes {'/'.join(name)}")
        self.counts["seen again"] += name in self.taken
        self.again.discard(name)
        self.taken[name] = directory, self.platter.moved(directory, name[1])
        remove(directory, name[1])

    def _lose_power(self) -> None:
        unsettled = [name for name, (_, moved) in self.taken.items() if not moved.kept]
        settled = self.taken.keys() - set(unsettled)
        self.platter.lose_power(self.rng)
        self.calls.note("-- the power is lost")
        self.calls.given_up = False
        for (place, name), (directory, moved) in self.taken.items():
            # When by luck the move was kept, what the consumer did may be kept as well, or not.
            if (place, name) in settled or (moved.kept and self.rng.random() < 0.5):
                remove(directory, name)
        self.again.update(unsettled)
        self._spoil()

    def _settled(self, after: str) -> None:
        """All that was committed is durable, in its place or taken away, and nothing else is there."""
        for (place, name), content in self.memory.published.items():
            shown = f"after {after} {place}/{name}"
            if (place, name) in self.taken and (place, name) not in self.visible:
                expect(self.taken[place, name][1].kept, f"{shown} is not durable, and was taken")
                continue
            kept = self.platter.root.find_kept(*self.output, *place.split("/"), name)
            expect(kept is not None, f"{shown} is missing, or would be after a power loss")
            expect((content, 0o640) == (kept.kept_data, kept.kept_mode), f"{shown} is not durable")
        names = {rejects_name(batch): content for batch, content in self.memory.rejects.items()}
        place = self.state.parts[1:]
        rejects = self.platter.root.find_kept(*place, "rejects")
        kept_names = rejects.kept_names if rejects else {}
        expect(
            names == {name: inode.kept_data for name, inode in kept_names.items()},
            f"after {after} the reject files that are durable are {sorted(kept_names)}",
        )
        expect(
            all(inode.kept_mode == 0o600 for inode in kept_names.values()),
            f"after {after} reject files can be read by others",
        )

    def _marked(self, batch: Batch) -> None:
        """OUTPUT tells which batch was last published, so that an older state is recognised."""
        mark = self.platter.root.find(*self.output, OWN_DIRECTORY, begun_name(batch.number))
        expect(mark is not None or not batch.outputs, f"batch {batch.number} has no mark")

    def _end(self) -> None:
        expect(self.goal == self.memory.last_batch(), "the last process did not come to its end")
        self._lose_power()
        self.look()
        self._settled("everything")
        self.counts["seen again"] += sum(name in self.taken for name in self.visible)

    def _spoil(self) -> None:
        """A disk may have lost content that it reported as written: what is staged can be made again."""
        staging = self.platter.root.find(*self.output, OWN_DIRECTORY, STAGING)
        if staging is None or self.rng.random() < 0.25:
            return
        for name, inode in (staging.names or {}).items():
            if inode.names is None and self.rng.random() < 0.7:
                inode.data = inode.kept_data = spoiled(self.rng, inode.data)
                self.counts["spoiled"] += 1
                self.calls.note(f"-- {name} is spoiled")

    def _lose_staged(self) -> None:
        """Somebody may remove staged files of a batch that the marks say was never begun: they come all the same."""
        output, last = self.platter.root.find(*self.output), self.memory.last_batch()
        own = output and output.find(OWN_DIRECTORY)
        staging = own and own.find(STAGING)
        if not staging or self.rng.random() < 0.5:
            return
        marks = [batch for name in own.names if (batch := parse_begun(name)) is not None]
        marks += [mark.batch for name in output.names if (mark := parse_output_mark(name))]
        if not marks or max(marks) >= last:
            return
        for name in self.memory.staged(last):
            if name in staging.names and self.rng.random() < 0.7:
                remove(staging, name)
                self.counts["lost"] += 1
                self.calls.note(f"-- {name} is lost")


def expect(true: bool, otherwise: str) -> None:
    """The law is broken unless it is true."""
    if not true:
        raise Broken(otherwise)


def remove(directory: Inode, name: str) -> None:
    """Take the name away for good, as far as it is kept already."""
    if directory.names:
        directory.names.pop(name, None)
    directory.kept_names.pop(name, None)


def _places(output: Inode | None) -> Iterator[tuple[str, Inode]]:
    """The directories of applications, and those of their control groups."""
    for place, directory in output.names.items() if output and output.names else ():
        if place == CONTROL:
            yield from ((f"{CONTROL}/{name}", inode) for name, inode in directory.names.items())
        elif place != OWN_DIRECTORY and directory.names is not None:
            yield place, directory
