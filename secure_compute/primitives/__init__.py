"""The only importer of cryptographic libraries."""
