"""The HTTP server under the API: uvicorn's protocol with bounds, and the guard around every request."""
