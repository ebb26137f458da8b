"""`python -m consumer`: the same as `offramp`."""

from consumer.entry import main

main()
