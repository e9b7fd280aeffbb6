"""The agreement: what parties say to one another, as signed values."""
