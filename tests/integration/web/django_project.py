"""A Django application in one module."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


async def hello(request: HttpRequest) -> HttpResponse:
    """The one page there is."""
    return HttpResponse("hello", headers={"x-mine": "1"})


urlpatterns = [path("x", hello)]


def application() -> Any:
    """It, as ASGI."""
    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test", MIDDLEWARE=[])
        django.setup()
    return get_asgi_application()
