"""Finds out by real calls whether an endpoint works and serves the vector space that it claims."""
