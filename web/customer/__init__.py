"""Pages of an account, for its members: usage, calls, keys, credit, documents, people."""
