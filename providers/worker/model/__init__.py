"""The model: its folder, tokenizer, weights, attention, pooling, and what it can do at best."""
