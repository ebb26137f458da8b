"""Fleets too large for one machine: simulated, and compared with real workers."""
