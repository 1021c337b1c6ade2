"""Kind ``litellm``: vendors without an OpenAI-compatible server, and the only importer of litellm."""
