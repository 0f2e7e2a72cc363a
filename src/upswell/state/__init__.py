"""The checkpoint: one writer, many readers, one schema, all SQL."""
