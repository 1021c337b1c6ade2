"""Who calls: API keys, operators' keys, members."""
