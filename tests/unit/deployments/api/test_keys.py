import asyncio
import base64
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from deployments.api.keys import KEYS_VARIABLE, Keys, check_exposure, read_keys
from deployments.api.reply_schemas import KeyUsage
from deployments.cli.serve import curl_line
from deployments.config import AccessConfig, AppConfig, CacheConfig
from deployments.errors import AccessDenied, InvalidKey, Overloaded
from deployments.gateway.commons import CommonsClient
from deployments.gateway.quotas import Quotas
from model_core.errors import DalleServeError, InvalidValue
from tests.unit.deployments.api.fake_service import GENERATIONS, FakeService, ask

KEY, OTHER = "first-key-of-many-letters", "second-key-of-many-letters"


class Clock:
    """Stands still until told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def admit(keys: Keys, authorization: str | None = None, client: tuple[str, int] | None = ("127.0.0.1", 1)) -> Any:
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return asyncio.run(keys(Request({"type": "http", "headers": headers, "client": client})))


def with_file(tmp_path: Path, text: str, clock: Clock | None = None, **access: Any) -> tuple[Keys, Path]:
    file = tmp_path / "keys"
    file.write_text(text)
    clock = clock or Clock()
    quotas = Quotas(CommonsClient(None, CacheConfig(), clock), clock)
    return Keys(AccessConfig(keys_file=str(file), **access), quotas, clock), file


def test_a_key_comes_as_a_bearers_or_as_http_basic(tmp_path: Path):
    keys, _ = with_file(tmp_path, f"# ours\n{KEY}\n\n{OTHER} 5\n")
    for pair in (f"me:{OTHER}", f"{KEY}:", KEY):
        assert admit(keys, "Basic " + base64.b64encode(pair.encode()).decode())
    for header in (f"Bearer {KEY}", f"bearer  {OTHER} "):
        assert admit(keys, header)
    for header in (None, "", KEY, "Bearer", f"Bearer {KEY[:-1]}", f"Digest {KEY}", "Basic \ufffd"):
        with pytest.raises(InvalidKey):
            admit(keys, header)


def test_keys_change_without_a_restart_and_never_open_the_door(tmp_path: Path):
    clock = Clock()
    keys, file = with_file(tmp_path, KEY, clock)
    for text in (OTHER, ""):  # an emptied file changes nothing
        file.write_text(text)
        clock.now += 2
        assert admit(keys, f"Bearer {OTHER}")
        with pytest.raises(InvalidKey):
            admit(keys, f"Bearer {KEY}")
    file.unlink()
    clock.now += 2
    assert admit(keys, f"Bearer {OTHER}")


def test_keys_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, f"{KEY},{OTHER} 7")
    keys = Keys(AccessConfig())
    assert [key.images_per_minute for key in keys.keys] == [None, 7]
    assert admit(keys, f"Bearer {OTHER}")


def test_a_line_says_what_a_key_may_in_any_order():
    first, second, third = read_keys(f"{KEY} batch 5 name=night-shift\n{OTHER} name=a.b interactive\n{KEY[::-1]}")
    assert (first.name, first.images_per_minute, first.is_batch) == ("night-shift", 5, True)
    assert (second.name, second.images_per_minute, second.is_batch) == ("a.b", None, False)
    assert third.name == third.digest.hex()[:8] and not third.is_batch


BROKEN_WORDS = ["five", "0", "1 2", "bulk", "batch batch", "batch interactive", "name=", "name=a/b", "name=a name=b"]


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", *(f"{KEY} {words}\n" for words in BROKEN_WORDS)])
def test_a_file_that_is_no_list_of_keys_is_refused_without_showing_it(tmp_path: Path, text: str):
    with pytest.raises(DalleServeError) as raised:
        with_file(tmp_path, text)
    assert KEY not in str(raised.value)
    with pytest.raises(DalleServeError, match="cannot be read"):
        Keys(AccessConfig(keys_file=str(tmp_path / "absent")))


def test_nothing_of_a_key_is_kept():
    (key,) = read_keys(KEY)
    assert KEY not in repr(key)


def charge(caller: Any, num_images: int) -> None:
    asyncio.run(caller.charge(num_images))


def test_a_budget_counts_images_and_fills_up(tmp_path: Path):
    clock = Clock()
    keys, _ = with_file(tmp_path, f"{KEY} 60\n{OTHER}\n", clock, images_per_minute=6)
    mine = admit(keys, f"Bearer {KEY}")
    charge(mine, 50)
    said = "60 images drawn in a minute; there is room for 10 now, and this request wants 20. Try again in 10 s"
    with pytest.raises(Overloaded, match=said) as refused:
        charge(admit(keys, f"Bearer {KEY}"), 20)
    assert refused.value.retry_after_s == 10  # ten are missing, one comes in a second
    clock.now += 10
    charge(mine, 20)
    with pytest.raises(InvalidValue, match="60 images"):
        charge(mine, 61)
    charge(admit(keys, f"Bearer {OTHER}"), 6)  # has its own, of the size that the settings say
    with pytest.raises(Overloaded) as refused:
        charge(admit(keys, f"Bearer {OTHER}"), 6)
    assert refused.value.retry_after_s == 30  # a minute it would take, but nobody is told more than this


def test_a_budget_holds_a_minute_and_no_more(tmp_path: Path):
    clock = Clock()
    keys, _ = with_file(tmp_path, f"{KEY} 4", clock)
    caller = admit(keys, f"Bearer {KEY}")
    clock.now += 3600
    charge(caller, 4)
    with pytest.raises(Overloaded):
        charge(caller, 1)
    clock.now += 15  # one image
    charge(caller, 1)
    with pytest.raises(Overloaded):
        charge(caller, 1)


def test_each_key_is_a_scope_of_its_own(tmp_path: Path):
    keys, _ = with_file(tmp_path, f"{KEY}\n{OTHER}")
    scopes = {admit(keys, f"Bearer {key}").scope for key in (KEY, OTHER, KEY)}
    assert len(scopes) == 2 and "" not in scopes
    assert not any(KEY in scope for scope in scopes)
    assert admit(Keys(AccessConfig())).scope == ""


def test_without_keys_only_this_machine_is_let_in():
    keys = Keys(AccessConfig())
    for client in (("127.0.0.1", 1), ("::1", 1), ("::ffff:127.0.0.1", 1), None):
        assert admit(keys, client=client)
    for client in (("10.0.0.1", 1), ("fe80::1%eth0", 1), ("somewhere", 1)):
        with pytest.raises(AccessDenied, match="keys_file"):
            admit(keys, client=client)
        assert admit(Keys(AccessConfig(allow_remote=True)), client=client)


def test_a_service_is_not_opened_to_others_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    check_exposure("127.0.0.1", AccessConfig())
    with pytest.raises(DalleServeError, match="--allow-remote"):
        check_exposure("0.0.0.0", AccessConfig())
    check_exposure("0.0.0.0", AccessConfig(allow_remote=True))
    monkeypatch.setenv(KEYS_VARIABLE, KEY)
    check_exposure("0.0.0.0", AccessConfig())


@pytest.mark.parametrize("needs_key", [False, True])
def test_what_a_ready_service_says_to_type_is_answered(tmp_path: Path, needs_key: bool):
    (tmp_path / "keys").write_text(KEY)
    access = AccessConfig(keys_file=str(tmp_path / "keys")) if needs_key else AccessConfig()
    words = shlex.split(curl_line("http://service", needs_key).replace("YOUR_KEY", KEY))
    assert words[0] == "curl" and words[-2] == "-d"
    headers = dict(header.split(": ") for flag, header in pairwise(words) if flag == "-H")
    assert ("Authorization" in headers) == needs_key
    reply = ask(FakeService(AppConfig(access=access)), "POST", words[1], headers=headers, content=words[-1])
    assert reply.status_code == 200


def test_replies_tell_a_key_its_limit(tmp_path: Path):
    (tmp_path / "keys").write_text(f"{KEY} 4 name=mine\n{OTHER}")
    service = FakeService(AppConfig(access=AccessConfig(keys_file=str(tmp_path / "keys"))))

    def asked(key: str, **fields: Any) -> Any:
        headers = {"authorization": f"Bearer {key}"}
        return ask(service, "POST", GENERATIONS, headers=headers, json={"prompt": "an avocado"} | fields)

    def limits(reply: Any) -> list[str]:
        return [reply.headers.get(f"x-ratelimit-{what}-images") for what in ("limit", "remaining", "reset")]

    assert limits(asked(KEY, n=3)) == ["4", "1", "45s"]
    refused = asked(KEY, n=3)
    assert refused.status_code == 429 and limits(refused) == ["4", "1", "45s"]
    assert limits(asked(KEY, n=1, stream=True))[:2] == ["4", "0"]
    assert limits(asked(KEY, n=0))[:2] == ["4", "0"]  # 400: nothing comes of it
    assert limits(asked(OTHER)) == [None] * 3
    usage = ask(service, "GET", "/v1/usage", headers={"authorization": f"Bearer {KEY}"})
    assert KeyUsage.model_validate(usage.json()).key == "mine" and limits(usage)[0] == "4"
    assert ask(service, "GET", "/v1/usage").status_code == 401


def test_keys_are_read_without_ray():
    """A command reads them before it sets the environment that Ray reads where it is imported."""
    look = "import sys, deployments.api.keys; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)
