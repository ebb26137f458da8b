"""Whether the long form of the tests runs, as in `make chaos`."""

import os

IS_LONG = os.environ.get("OFFRAMP_CHAOS") == "long"
