"""`python -m consumer`: the same as `offramp`."""

from consumer.cli.app import main

main()
