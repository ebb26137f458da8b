"""Processes of the operating system: signals, logs, and several workers under a supervisor."""
