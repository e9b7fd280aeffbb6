"""Joint sums under keys that nobody holds alone: BFV, t of n keyholders, one use a key."""
