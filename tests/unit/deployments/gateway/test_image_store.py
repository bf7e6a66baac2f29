from pathlib import Path

from deployments.gateway.image_store import ImageStore


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


def test_the_folder_is_not_listed_for_every_file(tmp_path: Path, monkeypatch):
    clock, listings = Clock(), []
    whole = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listings.append(path) or whole(path))
    store = ImageStore(tmp_path, seconds=3600, max_bytes=1000, clock=clock)
    for _ in range(50):
        clock.now += 1
        store.put(bytes(10), "png")
    assert len(listings) == 1
    for _ in range(100):
        store.put(bytes(10), "png")  # more than there is room for: a tenth goes at a time
    assert len(listings) < 10
    assert sum(path.stat().st_size for path in whole(tmp_path)) <= 1000


def test_what_others_put_there_counts_after_a_minute(tmp_path: Path):
    clock = Clock()
    store, other = (ImageStore(tmp_path, seconds=3600, max_bytes=100, clock=clock) for _ in range(2))
    for which in (store, other):
        for _ in range(8):
            which.put(bytes(10), "png")
    clock.now += 61
    store.put(bytes(10), "png")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100


def test_nothing_else_is_ever_read(tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    store = ImageStore(tmp_path / "images", 60, 10**6)
    name = store.put(b"picture", "png")
    for wrong in ("../secret.png", "", ".", f"../images/{name}", name + ".part", name.upper(), "a" * 43 + ".png"):
        assert store.get(wrong) is None
