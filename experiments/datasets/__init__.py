"""Real tables for studies: never part of this project, read from a folder of the caller's own."""
