"""Files of texts and labels, in every supported format. Needs no torch."""
