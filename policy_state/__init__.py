"""What Offramp learns about each domain, and where it is kept."""
