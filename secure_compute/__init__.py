"""The maths: bytes and integers in, bytes and integers out."""
