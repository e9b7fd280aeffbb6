"""Where a table's rows come from when they are not under `data/`: a database, or another file."""
