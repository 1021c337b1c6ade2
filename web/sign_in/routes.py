"""Lists the pages of signing in and out."""

from web.route import FORM_BYTES_MAX, Route
from web.sign_in import code, link, operator, out, outside, passkey, start

# A form that was refused for want of a fresh sign-in comes along, encoded once more: of a plus
# three characters become.
CARRIED_BYTES_MAX = 4 * FORM_BYTES_MAX

SIGN_IN: tuple[Route, ...] = (
    Route(path="/sign-in", show=start.show, act=start.act, body_bytes_max=CARRIED_BYTES_MAX),
    Route(path="/sign-in/again", show=start.again),
    Route(path="/sign-in/code", show=code.show, act=code.act, body_bytes_max=CARRIED_BYTES_MAX),
    Route(path="/sign-in/link/{link}", show=link.show, act=link.act),
    Route(path="/sign-in/passkey", act=passkey.act, body_bytes_max=CARRIED_BYTES_MAX),
    Route(path="/sign-in/passkey/options", act=passkey.options),
    Route(path="/sign-in/operator/{token}", show=operator.show, act=operator.act),
    Route(path="/sign-in/operator/{token}/options", act=operator.options),
    Route(path="/sign-in/with/{service}", show=outside.leave),
    Route(path="/sign-in/with/{service}/return", show=outside.show, act=outside.act),
    Route(path="/sign-out", act=out.act),
)
