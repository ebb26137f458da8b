"""Counters in, exits out: how an exit is chosen, and when a domain has drifted."""
