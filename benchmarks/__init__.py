"""Side-by-side measurements and their committed results."""
