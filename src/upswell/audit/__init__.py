"""Looks at inputs, state and output, and changes nothing."""
