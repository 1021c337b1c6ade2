"""What is outside the process: Postgres, Redis, the embedded servers, ids. Knows no package above it."""
