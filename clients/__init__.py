"""The node: runs inside one jurisdiction and keeps the last word over its data."""
