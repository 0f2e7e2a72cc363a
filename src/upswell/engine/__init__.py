"""A run: the loop, the batch in the making, the commit, the archive, the metrics."""
