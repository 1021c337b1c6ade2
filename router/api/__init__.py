"""The HTTP edge: the only place in the router that knows HTTP; nothing below it imports it. Begin at ``app.py``."""
