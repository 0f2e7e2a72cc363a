"""A run: the loop, the making of a batch, its commit, the archive, the metrics."""
