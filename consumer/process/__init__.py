"""Processes of ours: signals, logs, and several workers under one supervisor."""
