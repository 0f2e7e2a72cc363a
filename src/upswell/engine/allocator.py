"""Settings of the memory allocator and the garbage collector for a long run, made once at its start.

Owns these settings of the process and nothing else. None changes any result; each spares work that would come again
with every batch.
"""

import ctypes
import gc

TRIM_BYTES = 64 << 20
"""Freed memory up to this much stays with the process: a batch needs as much as the one before it, and a page that was
given back costs more to get again than a kilobyte costs to scan."""
MMAP_BYTES = 32 << 20
"""Larger blocks, such as those of a segment that was replaced, are given back at once. The most that glibc allows."""
OBJECTS_NEW_MAX = 50_000
"""Containers made between two collections: rows of notifications, which are in no cycle, come by the ten thousand."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def tune_allocator() -> None:
    """Keep freed memory that the next batch needs, and collect garbage less often.

    C libraries other than glibc have no such settings and stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
    gc.freeze()
    gc.set_threshold(OBJECTS_NEW_MAX, *gc.get_threshold()[1:])
