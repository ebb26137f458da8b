"""The command line, `offramp`: one file per group of commands."""
