"""One self-contained page about a run, for four readers; and one picture of it."""
