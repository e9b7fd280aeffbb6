"""The law: what may happen, and its price."""
