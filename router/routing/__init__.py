"""Chooses and ranks the endpoints that a call may go to, by rules and by their health. Pure, all of it."""
