"""The multi-exit network and everything that needs torch."""
