"""Shells of the agreement: processes and supervision."""
