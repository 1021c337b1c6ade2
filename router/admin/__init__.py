"""What operators do with accounts, credit, prices, models and licenses."""
