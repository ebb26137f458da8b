"""The ports implemented on Redis or Valkey: connections, keys, and calls of scripts."""
