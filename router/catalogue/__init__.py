"""The catalogue as a buyer reads it: rows with figures, filters, order, comparison, cost, relatives. Sells nothing."""
