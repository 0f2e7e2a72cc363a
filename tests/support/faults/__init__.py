"""Programs that faults are injected into."""
