"""Verifies by real calls that an endpoint works and serves the vector space that it claims."""
