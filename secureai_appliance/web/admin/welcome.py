"""`/`: the first page. Anybody sees where the documentation is; who is signed in, the models and a first request."""

from __future__ import annotations

from secureai_appliance import __version__
from secureai_appliance.governance import webhooks
from secureai_appliance.models import catalogue
from secureai_appliance.web.addresses import public_url
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.pages import page
from secureai_appliance.web.request import Request
from secureai_appliance.web.visitors import visitor


def show(request: Request[None, None]) -> Answer:
    parts, caller = request.parts, visitor(request.parts, request.environ)
    request.caller_or_none = caller
    models, given_up = [], []
    if caller is not None:
        with parts.store.read() as db:
            if caller.may("webhooks:admin"):
                given_up = webhooks.given_up(db)
            models = [parts.models.show_to(caller, row) for row in catalogue.all_models(db)]
    return page(
        request,
        "welcome.html",
        version=__version__,
        models=models,
        given_up=given_up,
        base_url=public_url(parts.settings, int(request.environ["SERVER_PORT"])),
    )
