"""Kind ``openai``: any OpenAI-compatible embeddings server, over the pooled wire."""
