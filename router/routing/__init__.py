"""Chooses and ranks the endpoints that a call may go to, by rules and by their health. Everything here is pure."""
