"""Pages of the operations console: providers, models, licenses, prices, accounts, audit."""
