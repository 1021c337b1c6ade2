"""Makes one call for a member by a key that they choose, exactly as a customer's program makes it."""
