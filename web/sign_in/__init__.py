"""Sign-in: who reads a page, and the pages by which a person becomes known."""
