"""One module a revision; what stands in one is never changed after a release."""
