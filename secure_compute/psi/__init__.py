"""How many people two parties have in common, or which, by approval; the protocol is in SPEC.md."""
