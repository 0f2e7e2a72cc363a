"""The main job as a careful engineer would write it on DuckDB: one of the programs of ``make bench``.

Same input, same outcome of every line, same bytes for every application. What it does not do, in its own favour: no
checkpoint, no recovery, no fsync, no gzip, no growing files, no conversion of time zones, and for a window over
midnight no records after midnight (totals by day would be wrong for them, so it refuses).

How it reads decides its speed. Whole lines come from the CSV reader, which takes a byte that no line holds as the
delimiter; one regular expression holds the grammar of a record, the dial is what stands before the first comma, and
only the lines of the segment are split into fields. Four columns of text and an expression for each took twice the
processor time of that; four typed columns as much as one expression, but they take "+5" for a number, lose the zeros of
"007", and lose the bytes of a line of five fields. Told that lines end in both bytes and not to be strict, that reader
takes lines of either end; only a carriage return by itself would cost it a byte, so files with one go through the text
reader with unnest, which takes many times as long.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

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

THREADS = 2
PARTS = 8
"""Of the files: enough to keep two threads at work to the end; with more, starting each is felt."""
PLACES = 10**12
"""More lines than a part has."""


def lines_of(files: list[Path]) -> str:
    """The lines of these files, in order, each without its end and with the name of its file."""
    names = ", ".join(f"'{file}'" for file in files)
    # The reader takes an empty line for a missing value.
    return (
        "(SELECT filename, coalesce(line, '') AS line FROM "
        f"read_csv([{names}], columns={{'line': 'VARCHAR'}}, delim=chr(1), quote='', escape='', header=false,"
        f" auto_detect=false, strict_mode=false, new_line='\\r\\n', filename=true))"
    )


def odd_lines_of(files: list[Path]) -> str:
    """As lines_of, for files of which one holds a carriage return that does not belong to a line end."""
    names = ", ".join(f"'{file}'" for file in files)
    return f"""(SELECT filename, unnest(CASE WHEN ends_with(content, chr(10)) THEN lines[:-2] ELSE lines END) AS line
        FROM (SELECT filename, content, string_split(content, chr(10)) AS lines FROM read_text([{names}])))"""


def has_lone_return(file: Path) -> bool:
    """Whether a carriage return of it stands before anything but a line feed."""
    content = file.read_bytes()
    return content.count(b"\r") != content.count(b"\r\n")


def load(db: duckdb.DuckDBPyConnection, segment: Path, rules: Path, files: list[Path]) -> None:
    """The tables of what does not stream. RULES has whole hours here, and one rule for each service."""
    db.execute(
        "CREATE TABLE dials AS SELECT DISTINCT ltrim(line, '+') AS dial"
        f" FROM {lines_of(sorted(segment.glob('*.csv')))}"
    )
    # A dial with a plus is the same one: so both are looked for, rather than each line's plus be taken off.
    db.execute("CREATE TABLE prefixes AS FROM dials UNION ALL SELECT '+' || dial FROM dials")
    db.execute(
        f"CREATE TABLE rules AS FROM read_csv('{rules}/*.csv', header=false, columns={{'service': 'UINTEGER',"
        " 'application': 'VARCHAR', 'start': 'BIGINT', 'end': 'BIGINT', 'threshold': 'BIGINT'})"
    )
    db.execute("CREATE TABLE files(filename VARCHAR, day_max BIGINT, day_open BIGINT)")
    db.executemany(
        "INSERT INTO files VALUES (?, ?, ?)",
        [(str(file), day_max(file), day_open(file)) for file in files],
    )


def select(db: duckdb.DuckDBPyConnection, files: list[Path]) -> None:
    """Make ``picked``: the lines of the segment and those that are not plainly a record, each with its place.

    Only a count over one table alone is promised to follow the order of the input; it keeps to one thread, and a join
    does not keep the order. So each thread numbers and joins a part of the files of its own.
    """
    plain = plain_record(min(day_max(file) for file in files))
    db.execute("CREATE TABLE picked(place BIGINT, line VARCHAR, filename VARCHAR, plain BOOLEAN)")

    def take(part: int) -> None:
        some = files[part * len(files) // PARTS : (part + 1) * len(files) // PARTS]
        if not some:
            return
        lines = odd_lines_of(some) if any(map(has_lone_return, some)) else lines_of(some)
        db.cursor().execute(
            f"""INSERT INTO picked
            SELECT place, line, filename, regexp_matches(line, '{plain}') AS plain
            FROM (SELECT {part * PLACES} + row_number() OVER () AS place, line, filename FROM {lines})
            WHERE NOT plain OR left(line, instr(line, ',') - 1) IN (FROM prefixes)"""
        )

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(take, range(PARTS)))


def look_closer(db: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> None:
    """Make ``chosen``: the records of the segment, in order. Counts every other outcome of the odd lines."""
    db.execute(
        rf"""CREATE TABLE odd AS
        SELECT place, line, filename, replace(text, '"', '') AS bare,
            regexp_matches(text, '{BLANK}') AS blank,
            strlen(text) <= {LINE_BYTES_MAX} AND regexp_matches(text, '{RECORD}') AS shaped
        FROM (
            SELECT place, line, filename,
                regexp_replace(regexp_replace(coalesce(line, ''), '^\x{{FEFF}}', ''), '\r$', '') AS text
            FROM picked WHERE NOT plain
        )"""
    )
    db.execute(
        """CREATE TABLE records AS
        SELECT place, line, filename, bare FROM odd JOIN files USING (filename), (SELECT bare[-14:-7] AS date)
        WHERE shaped AND date::BIGINT <= day_max AND date >= '0001'
            AND try_strptime(date, '%Y%m%d') IS NOT NULL"""
    )
    odd, blank, records = (
        db.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]
        for source in ("odd", "odd WHERE blank", "records")
    )
    counts["blank"], counts["rejected"] = blank, odd - blank - records - counts["header"]
    db.execute(
        """CREATE TABLE chosen AS
        SELECT place, line, filename, ltrim(fields[1], '+') AS dial, fields[2]::UINTEGER AS service,
            fields[3]::BIGINT AS volume, fields[4]::BIGINT AS timestamp
        FROM (
            SELECT place, line, filename, string_split(line, ',') AS fields FROM picked WHERE plain
            UNION ALL SELECT place, line, filename, string_split(bare, ',') FROM records
        ) WHERE fields[1] IN (FROM prefixes)"""
    )


def notify(db: duckdb.DuckDBPyConnection, counts: dict[str, int]) -> None:
    """Make ``sent``: the notified records. Fills in the counts of the outcomes from no_rule on."""
    db.execute(
        """CREATE TABLE inside AS
        SELECT place, line, dial, application, service, start, volume, threshold,
            timestamp // 1000000 AS day, day >= day_open AS open, start > "end" AND hour < "end" AS after_midnight
        FROM chosen JOIN rules USING (service) JOIN files USING (filename),
            (SELECT timestamp // 10000 % 100 AS hour)
        WHERE CASE WHEN start < "end" THEN hour >= start AND hour < "end" ELSE hour >= start OR hour < "end" END"""
    )
    # Before an application's first notification of a day nothing of it is capped, so plain running totals are right
    # up to there; whatever comes after is capped and needs none.
    db.execute(
        """CREATE TABLE sent AS
        SELECT min(place) AS place, dial, application, day FROM (
            SELECT place, dial, application, day, threshold, sum(volume) OVER (
                PARTITION BY dial, service, start, day ORDER BY place ROWS UNBOUNDED PRECEDING
            ) AS total FROM inside WHERE open
        ) WHERE total > threshold GROUP BY dial, application, day"""
    )
    for outcome, query in {
        "no_rule": "chosen WHERE service NOT IN (SELECT service FROM rules)",
        "inside": "inside",
        "late": "inside WHERE NOT open",
        "notified": "sent",
        "capped": "inside JOIN sent USING (dial, application, day) WHERE inside.place > sent.place AND open",
        "after_midnight": "inside WHERE after_midnight",
        "chosen": "chosen",
    }.items():
        ((counts[outcome],),) = db.execute(f"SELECT count(*) FROM {query}").fetchall()
    inside, chosen = counts.pop("inside"), counts.pop("chosen")
    if counts.pop("after_midnight"):
        raise SystemExit("this job has no records after midnight in a window over midnight")
    counts["outside_window"] = chosen - counts["no_rule"] - inside
    counts["counted"] = inside - counts["late"] - counts["capped"] - counts["notified"]


def notified(db: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return the notified lines by application, in order."""
    found: dict[str, list[str]] = {}
    rows = db.execute(
        r"""SELECT application, regexp_replace(regexp_replace(line, '^\x{FEFF}', ''), '\r$', '')
        FROM inside JOIN sent USING (place, application) ORDER BY place"""
    )
    for application, line in rows.fetchall():
        found.setdefault(application, []).append(line)
    return found


def compute(inputs: Inputs, counts: Counts) -> tuple[int, dict[str, list[str]]]:
    """Do the job in memory."""
    files, segment, rules = inputs
    db = duckdb.connect(config={"threads": THREADS})
    counts["header"] = headers(files)
    load(db, segment, rules, files)
    select(db, files)
    look_closer(db, counts)
    notify(db, counts)
    lines = count_lines(files)
    counts["not_in_segment"] = lines - sum(counts.values())
    return lines, notified(db)


if __name__ == "__main__":
    main(__doc__, compute)
