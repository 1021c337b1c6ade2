"""The worker's HTTP: operations, replies, and the answer while the model loads."""
