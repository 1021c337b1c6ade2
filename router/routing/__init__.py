"""Which endpoints a call may go to, and in which order. Rules and what they know of endpoints; no I/O."""
