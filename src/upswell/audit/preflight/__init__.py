"""Checks inputs, settings and machine before a run."""
