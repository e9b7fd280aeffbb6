"""Tests of every package; not shipped."""
