"""Joint sums under homomorphic encryption."""
