"""What a worker reports about itself: its figures, its health, the port of both, and traces."""
