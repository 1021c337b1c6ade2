"""Pages that anyone may read: the catalogue, prices, status, documentation."""
