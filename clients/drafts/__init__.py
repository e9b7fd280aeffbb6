"""Drafts: what the columns of a partner's table mean in the federation's words, and what to ask."""
