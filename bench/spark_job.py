"""The main job as a reader of the brief would write it on Spark: Structured Streaming with state, on two cores.

Same notifications for every application and the same outcomes. In its own favour: all files are one batch
(``availableNow``), state of days that are over is kept, and a refused line leaves only a count; capped and counted
lines are told together, as are headers and rejected ones, since a text source knows no line numbers. What it has that
Polars and DuckDB have not is a checkpoint: it would go on after a stop. It promises no order inside of an application.
The order that decides which record notifies is kept by sorting a customer's rows by file and block; rows of one block
stay as they were through the shuffle, which Spark does but does not promise.

``transformWithState`` with one value a customer is quicker than the state functions on pandas, which make a frame for
each customer; in Scala the Python workers would be spared, too.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle

from grammar import BLANK, KEEP_DAYS, LINE_BYTES_MAX, RECORD

TOLD = ("rejected+header", "blank", "not_in_segment", "no_rule", "outside_window", "late")
INSIDE = "inside"
STATE = "totals map<string, bigint>, done array<string>"


class Account(StatefulProcessor):
    """The totals and the caps of one customer."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Called once in each worker."""
        self.account = handle.getValueState("account", STATE)

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:
        """The notifications among the new rows of a customer."""
        totals, done = self.account.get() if self.account.exists() else ({}, [])
        totals, done = dict(totals), set(done)
        for row in sorted(rows, key=lambda row: (row.path, row.block)):
            occurrence = f"{row.service} {row.start} {row.opened}"
            cap = f"{row.application} {row.day}"
            if cap in done or occurrence in done:
                continue
            totals[occurrence] = totals.get(occurrence, 0) + row.volume
            if totals[occurrence] > row.threshold:
                done |= {cap, occurrence}
                yield Row(application=row.application, raw=row.raw)
        self.account.update((totals, list(done)))

    def close(self) -> None:
        """Nothing is held open."""


def read_lines(spark: SparkSession, data: Path) -> DataFrame:
    """The lines of the files with their fields, read as they come."""
    text = spark.readStream.text(str(data), lineSep="\n", pathGlobFilter="DATA_*.csv")
    raw = f.regexp_replace("value", "\r$", "")
    fields = f.split(f.translate("raw", '"', ""), ",")
    file_day = f.to_date(f.substring_index("path", "/DATA_", -1).substr(1, 8), "yyyyMMdd")
    return (
        text.select(
            raw.alias("raw"),
            f.col("_metadata.file_path").alias("path"),
            f.col("_metadata.file_block_start").alias("block"),
        )
        .withColumn(
            "shaped", f.col("raw").rlike(RECORD) & (f.octet_length("raw") <= LINE_BYTES_MAX)
        )
        .withColumn("fields", f.when(f.col("shaped"), fields))
        .withColumn(
            "day",
            f.try_to_timestamp(f.col("fields")[3].substr(1, 8), f.lit("yyyyMMdd")).cast("date"),
        )
        .withColumn("file_day", file_day)
        .withColumn(
            "record",
            f.coalesce(f.col("day") <= f.date_add("file_day", 1), f.lit(False))
            & (f.col("fields")[3] >= "0001"),
        )
        .withColumn("dial", f.when(f.col("record"), f.ltrim(f.col("fields")[0], f.lit("+"))))
        .withColumn("service", f.when(f.col("record"), f.col("fields")[1].cast("int")))
    )


def decide(lines: DataFrame, segment: DataFrame, rules: DataFrame) -> DataFrame:
    """The lines with what can be said of each one alone: an outcome, or that it lies inside a window."""
    joined = lines.join(f.broadcast(segment), "dial", "left").join(
        f.broadcast(rules), "service", "left"
    )
    hour = f.col("fields")[3].substr(9, 2).cast("int")
    after, before = hour >= f.col("start"), hour < f.col("end")
    over_midnight = f.col("start") >= f.col("end")
    within = f.when(over_midnight, after | before).otherwise(after & before)
    outcome = (
        f.when(f.col("raw").rlike(BLANK) & (f.octet_length("raw") <= LINE_BYTES_MAX), "blank")
        .when(~f.col("record"), "rejected+header")
        .when(f.col("chosen").isNull(), "not_in_segment")
        .when(f.col("application").isNull(), "no_rule")
        .when(~within, "outside_window")
        .when(f.col("day") < f.date_sub("file_day", KEEP_DAYS - 1), "late")
        .otherwise(INSIDE)
    )
    opened = f.when(over_midnight & before, f.date_sub("day", 1)).otherwise(f.col("day"))
    volume = f.when(f.col("record"), f.col("fields")[2].cast("long"))
    return joined.select(
        *("dial", "service", "application", "start", "threshold", "path", "block", "raw"),
        f.col("day").cast("string").alias("day"),
        opened.cast("string").alias("opened"),
        volume.alias("volume"),
        outcome.alias("outcome"),
    )


def count(outcome: str) -> Column:
    """How many lines have this outcome."""
    return f.count_if(f.col("outcome") == outcome).alias(outcome)


def main() -> None:
    """Run the job; prints the counts as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "segment", "rules", "output"):
        arguments.add_argument(name, type=Path)
    given = arguments.parse_args()

    with tempfile.TemporaryDirectory(prefix="spark-", dir=given.output.parent) as work:
        answer = run(given, work)
    print(json.dumps(answer))


def run(given: argparse.Namespace, work: str) -> dict[str, object]:
    """The whole job, with its checkpoint in ``work``; the counts."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "6g")
        .config("spark.local.dir", work)
        .config("spark.sql.shuffle.partitions", 2)
        .config(
            "spark.sql.streaming.stateStore.providerClass",
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
        )
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    segment = spark.read.text(str(given.segment), lineSep="\n").select(
        f.ltrim(f.col("value"), f.lit("+")).alias("dial"), f.lit(True).alias("chosen")
    )
    rules = spark.read.csv(
        str(given.rules),
        schema="service int, application string, start int, end int, threshold long",
    )
    decided = decide(read_lines(spark, given.data), segment.distinct(), rules).observe(
        "lines", f.count(f.lit(1)).alias("lines"), *map(count, (*TOLD, INSIDE))
    )
    sent = (
        decided.where(f.col("outcome") == INSIDE)
        .groupBy("dial")
        .transformWithState(Account(), "application string, raw string", "append", "None")
    )
    query = (
        sent.writeStream.format("text")
        .partitionBy("application")
        .option("checkpointLocation", f"{work}/checkpoint")
        .trigger(availableNow=True)
        .start(str(given.output))
    )
    query.awaitTermination()

    outcomes = dict.fromkeys(("lines", *TOLD, INSIDE), 0)
    for progress in query.recentProgress:
        observed = progress.observedMetrics.get("lines")
        for name in outcomes if observed else ():
            outcomes[name] += observed[name] or 0
    notified = sum(1 for part in given.output.glob("*/part-*") for _ in part.open("rb"))
    lines, inside = outcomes.pop("lines"), outcomes.pop(INSIDE)
    outcomes |= {"capped+counted": inside - notified, "notified": notified}
    spark.stop()
    return {"lines": lines, "outcomes": outcomes}


if __name__ == "__main__":
    main()
