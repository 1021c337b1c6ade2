"""The documentation as pages: articles from the repository's Markdown, all errors, every operation of the API."""
