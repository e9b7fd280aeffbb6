"""A synthetic cross-border commerce: customers, parties, orders, fraud, and the truth apart."""
