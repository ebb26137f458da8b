"""The commands about what has been learnt: look at it, change it, move it, judge it."""
