"""Holds the collaborators of the pages, made once per process (gigarouter.web)."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from router.api.in_process import InProcess
from router.context import RouterContext
from router.trial.call import SendCall
from store.clock import Clock
from web.origins import Origins
from web.people import PeopleContext
from web.viewer import Viewer

FindViewer: TypeAlias = Callable[[Mapping[str, str], RouterContext, datetime], Awaitable[Viewer]]


class WebContext(msgspec.Struct, frozen=True, kw_only=True):
    """What pages work with.

    ``reads`` is for GETs: its connections refuse to write, and its statements are short; ``writes`` is for POSTs.
    ``reading`` and ``writing`` are the operations on either. ``has_workshop``: `/-/parts` is there, in `up` and tests.
    ``mail_folder``: where mails are kept that nothing sends.
    """

    reads: RouterContext
    writes: RouterContext
    reading: InProcess
    writing: InProcess
    find_viewer: FindViewer
    people: PeopleContext
    origins: Origins
    clock: Clock
    api_url: str
    # Makes a trial call at the API; None where the pages are not told where it is.
    send_call: SendCall | None = None
    checkout_origins: tuple[str, ...] = ()
    has_workshop: bool = False
    mail_folder: Path | None = None
    reloads_templates: bool = False
