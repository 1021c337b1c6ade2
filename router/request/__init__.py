"""Decides about a call before anything is sent: its body, its model, its price, its admission."""
