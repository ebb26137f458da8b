"""The ports to shared state, and the values that they take and return."""
