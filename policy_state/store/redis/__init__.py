"""The ports on Redis or Valkey: connections, keys, and the calls of scripts."""
