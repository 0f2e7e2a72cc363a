"""A stream of Spark that copies lines of files with Spark's own file sink: ``python file_sink_job.py IN OUT SLEEP_MS``.

A line "slow" takes SLEEP_MS before it is written, so that one task of a batch lags behind another.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f


def main() -> None:
    """Copy what is there, and end."""
    source, target, sleep_ms = sys.argv[1:]
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        # Each file is a task of its own.
        .config("spark.sql.files.maxPartitionBytes", "16")
        .getOrCreate()
    )
    sleep = f.reflect(f.lit("java.lang.Thread"), f.lit("sleep"), f.lit(int(sleep_ms)).cast("long"))
    slow = f.when(f.col("value") == "slow", sleep)
    lines = spark.readStream.text(source).select(
        f.concat_ws("", "value", f.nullif(slow, f.lit("null"))).alias("value")
    )
    query = (
        lines.writeStream.format("text")
        .option("checkpointLocation", str(Path(target).with_suffix(".checkpoint")))
        .trigger(availableNow=True)
        .start(target)
    )
    query.awaitTermination()


if __name__ == "__main__":
    main()
