"""The settings of a run, and where each value came from."""
