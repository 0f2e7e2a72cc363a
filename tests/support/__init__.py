"""What tests share: inputs, runs, faults, and the law that every run is held against."""
