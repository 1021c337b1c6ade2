"""The pages: HTML for the public, customers, finance and ops, made on the server from what the parts below decide."""
