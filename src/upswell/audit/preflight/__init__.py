"""What is wrong before a run."""
