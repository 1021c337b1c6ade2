"""Pages of a person, whichever their accounts: theme, sessions, passkeys."""
