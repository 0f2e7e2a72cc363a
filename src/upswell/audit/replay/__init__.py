"""The log once more, over kept files: explain, whatif, reconcile."""
