"""Replays the log over the kept files: explain, whatif, effect, reconcile."""
