"""What a worker reports about itself: its figures, its health, the port that serves both, and traces."""
