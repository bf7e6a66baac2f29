from pathlib import Path

from deployments.image_store import ImageStore


class Clock:
    """Stands still until told."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_there_until_its_time_is_up(tmp_path: Path):
    clock = Clock()
    store = ImageStore(tmp_path / "images", seconds=60, max_bytes=10**6, clock=clock)
    name = store.put(b"picture", "png")
    assert (store.get(name), name[-4:]) == (b"picture", ".png")
    assert ImageStore(tmp_path / "images", 60, 10**6, clock).get(name) == b"picture"  # another gateway
    assert (tmp_path / "images").stat().st_mode & 0o077 == 0
    clock.now += 60
    assert store.get(name) is None
    other = store.put(b"next", "jpeg")
    assert [path.name for path in store.folder.iterdir()] == [other]


def test_the_oldest_make_room(tmp_path: Path):
    clock = Clock()
    store = ImageStore(tmp_path, seconds=60, max_bytes=25, clock=clock)
    names = []
    for _ in range(3):
        clock.now += 1
        names.append(store.put(bytes(10), "webp"))
    assert [store.get(name) is not None for name in names] == [False, True, True]


def test_nothing_else_is_ever_read(tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    store = ImageStore(tmp_path / "images", 60, 10**6)
    name = store.put(b"picture", "png")
    for wrong in ("../secret.png", "", ".", f"../images/{name}", name + ".part", name.upper(), "a" * 43 + ".png"):
        assert store.get(wrong) is None
