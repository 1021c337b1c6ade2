"""The model: its folder, tokenizer, weights, attention, pooling, and what it could do at best."""
