import asyncio

import pytest

from deployments.flow import waking as waking_module
from deployments.flow.waking import Waking
from tests.unit.deployments.fakes import fake_stages


def test_who_waits_for_stages_is_told_which_and_whenever_one_has_come(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waking_module, "LOADING_AFTER_S", 0.001)

    async def check() -> None:
        stages = {name: stage for name, stage in fake_stages().items() if name in ("token_sampler", "clip_scorer")}
        waking = Waking(stages)
        assert [away async for away in waking.waiting_for(60)] == []
        for stage in stages.values():
            stage.wakes = asyncio.Event()
        seen = []
        async for away in waking.waiting_for(60):
            seen.append(away)
            stages[away[-1]].wakes.set()  # type: ignore[union-attr]  set above
        assert seen == [["token_sampler", "clip_scorer"], ["token_sampler"]]
        stages["clip_scorer"].wakes = asyncio.Event()
        assert [away async for away in waking.waiting_for(0.05)] == [["clip_scorer"]]  # its time is up

    asyncio.run(check())
