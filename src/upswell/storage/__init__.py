"""Durable files: system calls, locks, mounts."""
