"""The ports in this process's memory, for tests."""
