"""Who signs in, how, and for how long: people, codes by e-mail, passkeys, sessions, invitations."""
