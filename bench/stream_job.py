"""A stream of Spark that copies files, one in each micro-batch: the least that Structured Streaming can do.

Prints what each micro-batch took, in ms, without planning the query, which happens once.
"""

import sys
import tempfile

from pyspark.sql import SparkSession


def main() -> None:
    """Copy what is there, and end."""
    source, target = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=target.rpartition("/")[0]) as work:
        spark = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.streaming.numRecentProgressUpdates", "100000")
            .config("spark.local.dir", work)
            .getOrCreate()
        )
        query = (
            spark.readStream.option("maxFilesPerTrigger", "1")
            .text(source)
            .writeStream.format("text")
            .option("checkpointLocation", f"{work}/checkpoint")
            .trigger(availableNow=True)
            .start(target)
        )
        query.awaitTermination()
        for progress in query.recentProgress:
            print(progress["durationMs"]["triggerExecution"])
        spark.stop()


if __name__ == "__main__":
    main()
