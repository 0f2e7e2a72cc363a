"""What a long run asks of its allocator and its collector, once, at its start.

Owns two settings of the process and nothing else. Neither changes any result; both spare work that comes again with
every batch.
"""

import ctypes
import gc

TRIM_BYTES = 64 << 20
"""Freed memory up to this much stays with the process: a batch needs as much as the one before it, and a page that
was given back costs more to get again than a kilobyte costs to scan."""
MMAP_BYTES = 32 << 20
"""Larger blocks are given back at once, as those of a segment that was replaced. The most that glibc allows."""
OBJECTS_NEW_MAX = 50_000
"""Containers made between two looks for cycles: rows of notifications, which are in none, come by the ten thousand."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def tune_allocator() -> None:
    """Let the process keep what it frees, as far as it will need it again; and let the collector look less often.

    Other C libraries than glibc have no such settings and go on as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
    gc.freeze()
    gc.set_threshold(OBJECTS_NEW_MAX, *gc.get_threshold()[1:])
