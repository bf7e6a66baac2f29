"""A sheet of scenes."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.shipped.world import sheet
from model_core.shipped.world.scenes import World
from tests.unit.model_core.shipped.world.things_made_here import sprites


def test_a_sheet_has_room_for_every_scene():
    scenes = list(World(sprites=sprites()).scenes(0, 9))
    picture = sheet.draw_sheet(scenes)
    assert picture.height == 2 * (sheet.PICTURE + sheet.LINE * sheet.LINES + sheet.GAP) + sheet.GAP
    shown = np.asarray(picture)[sheet.GAP : sheet.GAP + sheet.PICTURE, sheet.GAP : sheet.GAP + sheet.PICTURE]
    small = np.asarray(Image.fromarray(shown).resize((128, 128)), np.float64)
    assert np.abs(small - scenes[0].pixels).mean() < 6


def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheet, "open_or_build", sprites)
    monkeypatch.setattr(sys, "argv", ["sheet", str(tmp_path / "new" / "world.png"), "--count", "4", "--held-out"])
    sheet.main()
    assert (tmp_path / "new" / "world.png").stat().st_size > 1000
