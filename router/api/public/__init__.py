"""The customers' operations, one file per noun."""
