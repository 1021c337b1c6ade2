"""Lists a person's own pages."""

from web.me import invitation, passkeys, profile, sessions, theme
from web.route import Route, Who

OWN: tuple[Route, ...] = (
    Route(path="/theme", act=theme.act),
    Route(path="/me", show=profile.show, act=profile.act, who=Who.PERSON),
    Route(path="/me/accounts", act=profile.open_account, who=Who.PERSON, fresh=True),
    Route(path="/me/sessions", show=sessions.show, who=Who.PERSON),
    Route(path="/me/sessions/end", act=sessions.end_others, who=Who.PERSON),
    Route(path="/me/sessions/{session}/end", act=sessions.end, who=Who.PERSON),
    Route(path="/me/passkeys", show=passkeys.show, act=passkeys.act, who=Who.PERSON),
    Route(path="/me/passkeys/options", act=passkeys.options, who=Who.PERSON, fresh=True),
    Route(path="/me/passkeys/{passkey}/name", act=passkeys.rename, who=Who.PERSON),
    Route(path="/me/passkeys/{passkey}/remove", act=passkeys.remove, who=Who.PERSON, fresh=True),
    Route(path="/me/services/{service}/remove", act=passkeys.remove_service, who=Who.PERSON, fresh=True),
    Route(path="/invitations/{invitation}", show=invitation.show, act=invitation.act, who=Who.PERSON),
)
