"""The ledger: a log of decisions and spends that nobody can rewrite unnoticed."""
