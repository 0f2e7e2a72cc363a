"""The same batches, computed as jobs of Apache Spark."""
