"""A second model beside the live one: runs on a share of the texts, and is only compared."""
