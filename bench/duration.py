"""How long a question takes, told before it begins.

Owns the figures that such an estimate is made of: rough ones of two idle cores, which matter to nobody's plan of an
hour when they are a third off. It measures nothing, and no result depends on it.
"""

START_S = {"Upswell": 0.3, "Polars": 0.5, "DuckDB": 0.5, "Spark": 20.0, "wc -l": 0.0,
           "Upswell on Spark, 1 core": 8.0, "Upswell on Spark, 2 cores": 8.0}  # fmt: skip
"""Of a program, before it reads a line."""
MILLION_S = {"Upswell": 0.04, "Polars": 0.25, "DuckDB": 0.45, "Spark": 2.5, "wc -l": 0.02,
             "Upswell on Spark, 1 core": 0.1, "Upswell on Spark, 2 cores": 0.06}  # fmt: skip
"""Of a program, for a million records."""
MADE_MILLION_S = 1.2
"""For a million lines of an input that is not there yet."""


def job_s(name: str, records: int) -> float:
    """Seconds that a program takes for so many records."""
    return START_S[name] + MILLION_S[name] * records / 1e6


def tell(what: str, seconds: float) -> None:
    """Say it on stdout."""
    print(f"bench: {what}: about {in_words(seconds)} of measuring on two idle cores", flush=True)


def tell_made(name: str, lines: int) -> None:
    """Say that an input of so many lines is not there yet and is made now."""
    made_s = MADE_MILLION_S * lines / 1e6
    print(f"bench: making {name}, to be kept: about {in_words(made_s)}", flush=True)


def in_words(seconds: float) -> str:
    """Seconds, or minutes when they are many."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
