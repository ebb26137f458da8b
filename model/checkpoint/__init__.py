"""Model folders and published checkpoints: found, checked, read and written."""
