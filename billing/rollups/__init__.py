"""Keeps sums of usage by hour and by day, and answers from them what would take a million usage events to sum."""
