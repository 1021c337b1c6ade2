"""Explains each call: records why it went where it did, and shows that to its customer and to operators."""
