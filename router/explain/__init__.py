"""Keeps why each call went where it did, and shows it to its customer and to operators."""
