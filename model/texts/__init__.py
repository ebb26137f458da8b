"""Files of texts and labels, in every format that is read. Needs no torch."""
