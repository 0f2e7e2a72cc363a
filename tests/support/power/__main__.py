"""Play seeds again: one with every call, or a range of them with their sum."""

import sys

from support.power import play, trace

if __name__ == "__main__":
    seeds = [int(argument) for argument in sys.argv[1:]]
    if len(seeds) == 1:
        print(trace(seeds[0]))
    else:
        wrong, counts = play(range(*seeds))
        print(
            *(f"{seed}: {complaint}" for seed, complaint in wrong.items()), dict(counts), sep="\n"
        )
