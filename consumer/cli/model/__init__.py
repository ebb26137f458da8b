"""The commands about model folders: inspect, prepare and train them."""
