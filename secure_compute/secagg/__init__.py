"""Secure aggregation: the sum of many vectors and nothing else. The protocol is in SPEC.md."""
