"""The in-house worker against sentence-transformers and infinity-emb: same weights, texts, dtype and cores."""
