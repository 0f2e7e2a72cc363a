"""Generates seeded inputs, and the answer key to them."""
