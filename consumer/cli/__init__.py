"""The command line, `offramp`: one file for each group of commands."""
