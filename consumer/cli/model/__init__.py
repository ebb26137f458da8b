"""The commands about model folders: look at one, prepare it, train it."""
