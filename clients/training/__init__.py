"""Differentially private training; the only importer of torch."""
