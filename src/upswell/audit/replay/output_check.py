"""Files in OUTPUT that no batch published.

Owns that question; reads OUTPUT and the state, and changes neither.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from upswell.output.published import files, published_place
from upswell.state.reader import StateReader


def strangers(
    reader: StateReader, output: Path, known: Collection[str], first_batch: int, last_batch: int
) -> Iterator[str]:
    """Places of files that look as published, though no batch published them, and no state before this one did.

    ``known``: the places of the files of all batches up to the last one; a run may have published others meanwhile.
    """
    for place, name in files(output):
        if 0 < name.batch < first_batch:
            continue
        newer = reader.staged(name.batch).values() if name.batch > last_batch else ()
        if place not in known and place not in map(published_place, newer):
            yield place
