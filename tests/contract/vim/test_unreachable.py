"""VIMs in trouble: what is worth a retry, what is not, and never a credential in what is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.vim_site import PASSWORD, VimSite

from sonata.adapters.vim_openstack import OpenStackVim
from sonata.adapters.vim_openstack.faults import answer_of, error_of_answer
from sonata.errors import NotFound, PermanentError, QuotaExceeded, SonataError, TransientError
from sonata.ports.vim import NetworkRequest

pytestmark = pytest.mark.anyio
SECRET = "a-very-secret-password"


@contextlib.asynccontextmanager
async def connected(auth_url: str, password: str = SECRET, project: str = "admin") -> AsyncIterator[OpenStackVim]:
    vim = OpenStackVim("west", auth_url, "admin", password, project)
    try:
        yield vim
    finally:
        await vim.close()


def told(error: SonataError) -> str:
    """Everything of an error that anybody may see."""
    chain = f"{error!r} {error} {error.__cause__!r}"
    return f"{chain} {getattr(error, 'call', '')} {getattr(error, 'answer', '')}"


async def test_a_vim_that_is_down_is_worth_a_retry(anyio_backend: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with connected(f"http://127.0.0.1:{port}/west/identity/v3") as vim:
        for call in (vim.capacity(), vim.sweep("x/"), vim.ensure_network(NetworkRequest("x/n", "n", "10.0.0.0/24"))):
            with pytest.raises(TransientError, match=r"VIM `west` cannot be reached.*is it running") as caught:
                await call
            assert caught.value.retry_after_s
            assert SECRET not in told(caught.value)
    assert SECRET not in caplog.text


async def test_a_vim_that_dies_in_between_is_worth_a_retry(site: VimSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(site.auth_url, PASSWORD) as vim:
        await vim.capacity()
        loop = asyncio.get_running_loop()
        proxied = await vim._run(lambda calls: calls._connected().network)
        endpoint = await loop.run_in_executor(None, proxied.get_endpoint)
        assert endpoint.startswith("http://127.0.0.1")
        monkeypatch.setattr(proxied, "endpoint_override", "http://127.0.0.1:1/dead")
        with pytest.raises(TransientError, match="cannot be reached"):
            await vim.ensure_network(NetworkRequest("x/n", "n", "10.0.0.0/24"))


async def test_a_wrong_password_is_permanent_and_stays_secret(site: VimSite, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(site.auth_url) as vim:
        with pytest.raises(PermanentError, match=r"refused the login.*check user") as caught:
            await vim.capacity()
        assert caught.value.call == "POST /auth/tokens"
        assert SECRET not in told(caught.value)
        assert SECRET not in repr(vim)
    assert SECRET not in caplog.text


async def test_the_environment_and_clouds_yaml_do_not_leak_in(
    site: VimSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "clouds.yaml").write_text("clouds: {envvars: {auth: {auth_url: 'http://127.0.0.1:1'}}}")
    monkeypatch.chdir(tmp_path)
    for name, value in {"OS_AUTH_URL": "http://127.0.0.1:1", "OS_USERNAME": "eve", "OS_CLOUD": "other"}.items():
        monkeypatch.setenv(name, value)
    async with connected(site.auth_url, PASSWORD) as vim:
        assert (await vim.capacity()).pop == "west"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, '{"itemNotFound": {"code": 404, "message": "no such server"}}', NotFound),
        (403, '{"forbidden": {"message": "Quota exceeded for cores: Requested 8"}}', QuotaExceeded),
        (
            409,
            '{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: [\'port\']."}}',
            QuotaExceeded,
        ),
        (409, '{"NeutronError": {"message": "No more IP addresses available on network x."}}', QuotaExceeded),
        (409, '{"NeutronError": {"message": "The port is in use"}}', PermanentError),
        (403, '{"forbidden": {"message": "Policy does not allow it"}}', PermanentError),
        (400, '{"badRequest": {"message": "Invalid input"}}', PermanentError),
        (429, '{"overLimit": {"message": "slow down"}}', TransientError),
        (500, "Internal Server Error", TransientError),
        (503, "<html>proxy</html>", TransientError),
    ],
)
def test_answers_become_errors(status: int, body: str, kind: type[SonataError]) -> None:
    error = error_of_answer("west", "POST /servers", status, {"Retry-After": "7"}, body)
    assert isinstance(error, kind)
    assert getattr(error, "call") == "POST /servers"  # noqa: B009 - two classes carry it beside AdapterError
    assert getattr(error, "answer") == answer_of(body)  # noqa: B009
    assert answer_of(body) in str(error)
    if isinstance(error, TransientError):
        assert error.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"conflictingRequest": {"code": 409, "message": "nova"}}', "nova"),
        ('{"NeutronError": {"type": "T", "message": "neutron", "detail": ""}}', "neutron"),
        ('{"error": {"code": 401, "message": "keystone", "title": "Unauthorized"}}', "keystone"),
        ('{"code": 404, "title": "Not Found", "error": {"message": "heat", "traceback": null}}', "heat"),
        ("{}", "{}"),
        ("[1]", "[1]"),
        ("", ""),
        ("x" * 2000, "x" * 500),
    ],
)
def test_the_message_is_found_in_every_services_error_body(body: str, message: str) -> None:
    assert answer_of(body) == message


async def test_a_user_without_the_admins_view_sees_its_quota(site: VimSite, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(site.auth_url, PASSWORD) as vim:
        usual = await vim.capacity()

        def forbid(calls: Any) -> None:
            proxy = calls._connected().compute
            original = proxy.request

            def request(path: str, method: str, **arguments: Any) -> Any:
                response = original(path, method, **arguments)
                if path.startswith("/os-hypervisors"):
                    response.status_code = 403
                return response

            monkeypatch.setattr(proxy, "request", request)

        await vim._run(forbid)
        quota = await vim.capacity()
        assert quota.pop == usual.pop
        assert quota.vcpus_total > 0
        assert quota.vcpus_used == usual.vcpus_used
