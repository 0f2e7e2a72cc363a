"""Writes docs/trust.md from what the suite has counted: how often each promise was tried, in which run, and what broke.

``PYTHONPATH=tests python -m tools.trust_report`` takes what runs left in ``.trust/`` into docs/trust.jsonl, where one
line is what one run covered of one test, and writes the page. No figure stands on the page that a run did not count.
"""

import json
from collections import defaultdict
from collections.abc import Iterable

from support import trust
from support.trust import Count

PAGE = trust.ROOT / "docs" / "trust.md"
FIGURES = trust.ROOT / "docs" / "trust.jsonl"
PROMISES = {
    "T1": "Killed before every system call that changes something",
    "T2": "An error in every system call",
    "T3": "System calls that report success and do nothing",
    "T5": "Everything is durable before the next step relies on it",
    "T6": "A full disk, at every size",
    "T7": "Killed while it recovers",
    "T8": "Killed at random moments of a long run",
    "T9": "Power loss, in a model of the file system",
    "T10": "Mistakes put into the protocol are caught",
    "T11": "Two starts at once, and signals",
    "T12": "The kernel says what the specification says",
    "T13": "Any bytes at all",
    "T14": "A damaged checkpoint",
    "T15": "Growth",
    "T16": "Writers that race with the run",
    "T17": "Branches of the protocol that tests go through",
    "T18": "Mutants of the protocol that tests kill",
    "T20": "Clocks and surroundings",
    "S1": "Application names that try to leave OUTPUT",
    "S2": "Links and special files",
    "S3": "Formulas for spreadsheets",
    "S4": "Personal data",
    "S5": "File modes",
    "S6": "Forged lines in logs and terminals",
    "S7": "Decompression bombs",
    "S8": "Inputs without measure",
    "S10": "Dependencies",
}
# One sentence a line, as in all prose of the repository.
HEAD = """\
# How far the promises were tried

Written by `PYTHONPATH=tests python -m tools.trust_report` from what the runs counted ([trust.jsonl](trust.jsonl)); only the headings are written by hand.
`make test` tries a seeded sample of every campaign; `make trust` tries all of its cases, for hours, and continues where it was interrupted.

Each fault in a run is followed by a restart without faults.
Then the law is checked, by code that shares nothing with the run but the reading of the checkpoint:

1. every line read has exactly one outcome, by file and in total;
2. what is visible in OUTPUT, with what a consumer took out of it, is what the specification in plain Python makes of the log, byte for byte, each record once;
3. a customer has at most one notification a day and application;
4. the totals in the ledger are the specification's;
5. the state is sound, nothing is left staged, no file is half visible;
6. nobody had to intervene.

The program itself also checks the first and the third at every commit, and stops rather than go on.
Power loss (T9) is tried on commit and recovery over a model of a disk and a stand-in for the checkpoint: it checks points 2, 5 and 6, and that everything that was committed is durable.
A campaign that tries the kernel or the suite itself says in its claim what it checks.

"In the suite" is what one run of `make test` covers, "release run" what `make trust` covered; beside each stands the run it is from: commit (with a + if the tree had other changes), date, seconds.
"""  # noqa: E501


def main() -> None:
    """Take in the counts of this tree's runs, and write figures and page."""
    kept = runs(filter(exists, [*trust.read(FIGURES), *trust.read()]))
    FIGURES.write_text("".join(json.dumps(one._asdict()) + "\n" for one in kept))
    PAGE.write_text(page(kept))
    print(f"{len(kept)} runs in {FIGURES.name} and {PAGE.name}")


def runs(counts: Iterable[Count]) -> list[Count]:
    """Of each test the sample and the release run that covered most, the newest of equals; its pieces added up.

    One in which something was wrong is shown until another has covered as much and found nothing.
    """
    groups: defaultdict[tuple[str, bool, str, int], dict[int, Count]] = defaultdict(dict)
    for count in counts:
        key = count.test, count.release, count.sources, count.total
        groups[key] = groups.pop(key, {})  # the order of groups is that of their last pieces
        groups[key][count.start if count.release else 0] = count
    best: dict[tuple[str, bool], Count] = {}
    for (test, release, _, _), pieces in groups.items():
        one = _added(list(pieces.values()))
        other = best.get((test, release))
        if other is None or one.wrong or one.covered >= other.covered:
            best[test, release] = one
    return sorted(best.values(), key=lambda one: (_place(one.promise), one.test, one.release))


def exists(count: Count) -> bool:
    """Whether its test is still there: what was renamed or removed says nothing any more."""
    file, _, name = count.test.partition("::")
    if not name:
        return count.promise == "T18"
    path = trust.ROOT / "tests" / file
    return path.exists() and f"def {name.partition('[')[0]}(" in path.read_text()


def _added(pieces: list[Count]) -> Count:
    """The pieces of one release run as one that begins at 0, told by its last piece."""
    last = pieces[-1]
    return last._replace(
        start=0,
        covered=sum(piece.covered for piece in pieces),
        wrong=sum(piece.wrong for piece in pieces),
        seconds=round(sum(piece.seconds for piece in pieces), 1),
    )


def _place(promise: str) -> tuple[str, int]:
    return {"T": "0", "S": "1"}.get(promise[0], "2"), int(promise[1:])


def page(kept: list[Count]) -> str:
    """The page as text."""
    by_promise: defaultdict[str, dict[str, dict[bool, Count]]] = defaultdict(dict)
    for one in kept:
        by_promise[one.promise].setdefault(one.test, {})[one.release] = one
    parts = [HEAD]
    for promise in sorted(by_promise, key=_place):
        parts.append(f"\n## {promise}: {PROMISES[promise]}\n")
        parts.append("\n| claim | in the suite | release run | wrong |\n|---|---|---|---|\n")
        for test, both in by_promise[promise].items():
            some = next(iter(both.values()))
            wrong = sum(one.wrong for one in both.values())
            parts.append(
                f"| {_cell(some.claim)} (`{_cell(test)}`) | {_run(both.get(False))} |"
                f" {_run(both.get(True))} | {wrong} |\n"
            )
    return "".join(parts)


def _run(one: Count | None) -> str:
    if one is None:
        return "-"
    seed = f", seed {one.seed}" if one.seed else ""
    return f"{one.covered:,} of {one.total:,} {one.case} ({one.commit}, {one.date}{seed}, {one.seconds:,.0f} s)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
