"""The table everyone sits at: sees noised sums, ciphertexts and proofs."""
