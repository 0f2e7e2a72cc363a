"""What is done to a state beside its run: verify, back up, export, import, forget."""
