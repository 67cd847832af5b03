"""Nightly sweeps: when they are due, what becomes of each night, what it found, and who is told."""
