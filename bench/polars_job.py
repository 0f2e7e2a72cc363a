"""The main job as a careful engineer would write it on Polars: one of the programs of ``make bench``.

Same input, same outcome of every line, same bytes for every application. What it does not do, in its own favour: no
checkpoint, no recovery, no fsync, no gzip, no growing files, no conversion of time zones, and for a window over
midnight no records after midnight (totals by day would be wrong for them, so it refuses).

How it reads decides its speed. Whole lines are scanned by the streaming engine, one regular expression holds the
grammar of a record, calendar included, the dial is what stands before the first comma, and only the lines of the
segment are split into fields. Of the ways that were measured this took the least processor time. The CSV reader with
four columns of text and a check of each took a tenth more (and would stop at a line of five fields, and lose the bytes
of the line); splitting the dial off, or joining with the segment, a quarter more; with columns of numbers that reader
is quick, but takes "+5" for a number and loses the zeros of "007". Lines that the expression refuses, 29 February and
what is newer than the oldest file allows among them, are looked at again, with quotes and headers understood.
"""

from pathlib import Path

import polars as pl

from grammar import (
    BLANK,
    LINE_BYTES_MAX,
    RECORD,
    count_lines,
    day_max,
    day_open,
    headers,
    plain_record,
)
from job import Counts, Inputs, main

C = pl.col
KEY = 10**15
"""A dial as one number is its value plus its length times this, as leading zeros count: quicker to sort than text."""


def fields(line: pl.Expr) -> dict[str, pl.Expr]:
    """The columns of a record without quotes."""
    field = line.str.split_exact(",", 3).struct
    return {
        "dial": field.field("field_0").str.strip_prefix("+"),
        "service": field.field("field_1").str.to_integer(dtype=pl.UInt32, strict=False),
        "volume": field.field("field_2").str.to_integer(dtype=pl.Int64, strict=False),
        "timestamp": field.field("field_3").str.to_integer(dtype=pl.Int64, strict=False),
    }


def select(files: list[Path], segment: pl.Series) -> pl.DataFrame:
    """In input order the records of the segment and every line that is not plainly a record."""
    plain = plain_record(min(day_max(file) for file in files))
    # A dial with a plus is the same one: so both are looked for, rather than each line's plus be taken off.
    prefixes = pl.concat([segment, "+" + segment]).implode()
    prefix = C("line").str.head(C("line").str.find(",", literal=True))
    lines = pl.scan_lines([str(file) for file in files], include_file_paths="path")
    picked = lines.with_columns(plain=C("line").str.contains(plain)).filter(
        prefix.is_in(prefixes) | ~C("plain")
    )
    columns = picked.select("plain", "path", "line", **fields(C("line")))
    return columns.collect(engine="streaming").with_row_index("at")


def look_closer(
    rows: pl.DataFrame, segment: pl.Series, files: list[Path], counts: dict[str, int]
) -> pl.DataFrame:
    """The records of the segment, in order; counts every other outcome of the lines that the expression refused."""
    text = C("line").str.strip_prefix("\ufeff").str.strip_suffix("\r")
    odd = rows.filter(~C("plain")).with_columns(line=text)
    counts["blank"] = odd.select(C("line").str.contains(BLANK).sum()).item()
    days = {str(file): day_max(file) for file in files}
    date = C("timestamp") // 10**6
    shaped = odd.filter(C("line").str.contains(RECORD), C("line").str.len_bytes() <= LINE_BYTES_MAX)
    records = shaped.with_columns(
        **fields(C("line").str.replace_all('"', "", literal=True))
    ).filter(
        date.cast(pl.String).str.zfill(8).str.to_date("%Y%m%d", strict=False).is_not_null(),
        date >= 10**4,
        date <= C("path").replace_strict(days, return_dtype=pl.Int64),
    )
    counts["header"] = headers(files)
    counts["rejected"] = odd.height - counts["blank"] - records.height - counts["header"]
    again = records.filter(C("dial").is_in(segment.implode()))
    return (
        pl.concat([rows.filter("plain"), again]).sort("at")
        if again.height
        else rows.filter("plain")
    )


def load_segment(path: Path) -> pl.Series:
    """The dials of SEGMENT."""
    lines = pl.concat([pl.read_lines(file) for file in sorted(path.glob("*.csv"))])["line"]
    return lines.str.strip_prefix("+").unique()


def load_rules(path: Path) -> pl.DataFrame:
    """RULES, whose times are whole hours here, with one rule for each service."""
    schema = {
        "service": pl.UInt32,
        "application": pl.String,
        "start": pl.Int64,
        "end": pl.Int64,
        "threshold": pl.Int64,
    }
    return pl.concat(
        [pl.read_csv(file, has_header=False, schema=schema) for file in sorted(path.glob("*.csv"))]
    )


def notify(rows: pl.DataFrame, rules: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """The notified rows in input order; fills in the counts of the outcomes from no_rule on."""
    served = rows.join(rules, on="service", how="inner", maintain_order="left")
    counts["no_rule"] = rows.height - served.height
    hour = C("timestamp") // 10**4 % 100
    after, before = hour >= C("start"), hour < C("end")
    fits = pl.when(C("start") < C("end")).then(after & before).otherwise(after | before)
    inside = served.filter(fits).with_columns(day=C("timestamp") // 10**6)
    if inside.filter((C("start") > C("end")) & before).height:
        raise SystemExit("this job has no records after midnight in a window over midnight")
    counts["outside_window"] = served.height - inside.height
    opened = inside.filter(C("day") >= C("day_open"))
    counts["late"] = inside.height - opened.height
    # Before an application's first notification of a day nothing of it is capped, so plain running totals are right
    # up to there; whatever comes after is capped and needs none.
    group = ["customer", "application", "day"]
    number = C("dial").str.to_integer(dtype=pl.UInt64)
    opened = opened.with_columns(customer=number + C("dial").str.len_bytes().cast(pl.UInt64) * KEY)
    first = over_threshold(opened).group_by(group).agg(C("at").min().alias("first"))
    later = opened.select("at", *group).join(first, on=group, how="inner")
    counts["capped"] = later.filter(C("at") > C("first")).height
    counts["notified"] = first.height
    counts["counted"] = opened.height - counts["capped"] - first.height
    return opened.join(first.select(at="first"), on="at", how="semi", maintain_order="left")


def over_threshold(opened: pl.DataFrame) -> pl.DataFrame:
    """The records whose running total is above the threshold. On many small groups cum_sum().over() takes longer."""
    occurrence = ["customer", "service", "start", "day"]
    ordered = opened.select("at", "application", "volume", "threshold", *occurrence).sort(
        *occurrence, "at"
    )
    begins = pl.any_horizontal(C(name) != C(name).shift() for name in occurrence).fill_null(True)
    running = ordered.with_columns(begins=begins, running=C("volume").cum_sum())
    before = pl.when("begins").then(C("running") - C("volume")).forward_fill()
    return running.filter(C("running") - before > C("threshold"))


def compute(inputs: Inputs, counts: Counts) -> tuple[int, dict[str, pl.Series]]:
    """Do the job in memory."""
    files = inputs.files
    segment, rules = load_segment(inputs.segment), load_rules(inputs.rules)
    rows = look_closer(select(files, segment), segment, files, counts)
    lines = count_lines(files)
    counts["not_in_segment"] = lines - rows.height - sum(counts.values())
    opens = {str(file): day_open(file) for file in files}
    rows = rows.with_columns(day_open=C("path").replace_strict(opens, return_dtype=pl.Int64))
    sent = notify(rows, rules, counts)
    groups = sent.group_by("application", maintain_order=True)
    return lines, {str(application): group["line"] for (application,), group in groups}


if __name__ == "__main__":
    main(__doc__, compute)
