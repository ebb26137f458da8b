"""Model folders and published checkpoints: find, check, read and write them."""
