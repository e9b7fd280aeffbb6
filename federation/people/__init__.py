"""People at the federation's doors: who they are, what they show, how long that counts. Pure."""
