"""Which topics are read, which domain a record belongs to, and where its prediction goes."""
