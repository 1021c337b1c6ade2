"""Closes months: a checklist as data, the freeze that lets no entry in, and the closing papers."""
