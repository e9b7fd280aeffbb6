"""One module per sub-command of `entrepot`."""
