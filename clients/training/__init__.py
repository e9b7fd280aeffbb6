"""Private training, unit by unit and exact; torch is for the baselines without privacy alone."""
