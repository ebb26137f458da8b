"""JSON over HTTP: one request, one answer, within a time; and the secrets that it needs."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import orjson

from consumer.errors import (
    InvalidSettings,
    ServiceRefused,
    ServiceUnavailable,
    UntrustedService,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LIMIT_BYTES = 8 << 20
_OURS = range(400, 500)  # the request is at fault: asking again does not help
_PASSING = {408, 425, 429}

_Answer = TypeVar("_Answer")


def fetch_json(  # noqa: PLR0913  (the request's, by keyword)
    url: str,
    *,
    expected: type[_Answer],
    timeout_s: float,
    form: Mapping[str, str] | None = None,
    login: tuple[str, str] | None = None,
    ca_file: Path | None = None,
) -> _Answer:
    """Return what a URL answers with.

    Args:
        url: of http or https.
        expected: dict or list.
        timeout_s: longest silence.
        form: posted if given.
        login: user and password.
        ca_file: certificates to trust; by default the system's.

    Raises:
        ServiceRefused: the service answers that this is not to be had.
        ServiceUnavailable: it does not answer, or not with what is expected.
        InvalidSettings: there are no certificates in `ca_file`.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidSettings(f"{ca_file} holds no usable certificates: {error}") from error
    body = None if form is None else urlencode(form).encode()
    request = Request(url, data=body, headers={"Accept": "application/json"})  # noqa: S310  (http or https: the settings see to it)
    if login is not None:
        token = base64.b64encode(":".join(login).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urlopen(request, timeout=timeout_s, context=context) as answer:  # noqa: S310  (the same)
            found = orjson.loads(answer.read(_LIMIT_BYTES))
    except HTTPError as error:
        with error:
            said = f"{url} answers {error.code} {error.reason}"
        if error.code in _OURS and error.code not in _PASSING:
            raise ServiceRefused(said, code=error.code) from None
        raise ServiceUnavailable(said) from None
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            said = f"{url}: its certificate is not trusted: {error.reason.verify_message}"
            raise UntrustedService(said) from error
        raise ServiceUnavailable(f"{url}: {error.reason}") from error
    except OSError as error:
        raise ServiceUnavailable(f"{url}: {error}") from error
    except ValueError as error:
        raise ServiceUnavailable(f"{url} does not answer with JSON: {error}") from error
    if not isinstance(found, expected):
        said = f"{url} answers with a {type(found).__name__}, expected a {expected.__name__}"
        raise ServiceUnavailable(said)
    return found


def read_secret(path: Path) -> str:
    """Return what a file holds, without the white space around it.

    Raises:
        InvalidSettings: it cannot be read, or is empty.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path} is not UTF-8") from error
    if not secret:
        raise InvalidSettings(f"{path} is empty: write the secret into it")
    return secret
