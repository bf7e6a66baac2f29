import errno
from pathlib import Path

import pytest

from deployments.errors import UrlsUnavailable
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


class Disk:
    """A disk with so much room, for what `Path.write_bytes` writes; a file that does not fit stays empty."""

    def __init__(self, folder: Path, room: int, monkeypatch: pytest.MonkeyPatch):
        whole = Path.write_bytes

        def write(path: Path, data: bytes) -> int:
            if sum(each.stat().st_size for each in folder.iterdir() if each.is_file()) + len(data) > room:
                path.touch()
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole(path, data)

        monkeypatch.setattr(Path, "write_bytes", write)


def test_where_the_disk_is_full_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Disk(tmp_path, 45, monkeypatch)
    clock = Clock()
    store = ImageStore(tmp_path, seconds=3600, max_bytes=1000, clock=clock)
    names = []
    for _ in range(6):
        clock.now += 1
        names.append(store.put(bytes(10), "png"))
    kept = [store.get(name) is not None for name in names]
    assert kept == sorted(kept) and kept[-2:] == [True, True] and not kept[0]
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(UrlsUnavailable, match="No space left"):
        store.put(bytes(50), "png")
    assert not list(tmp_path.glob("*.part"))


def test_what_is_not_ours_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    others = [tmp_path / name for name in ("notes.png", "letter.txt", f"{'a' * 43}.gif", "folder")]
    for other in others[:-1]:
        other.write_bytes(bytes(20))
    others[-1].mkdir()
    Disk(tmp_path, 100, monkeypatch)
    clock = Clock()
    store = ImageStore(tmp_path, seconds=60, max_bytes=25, clock=clock)
    for _ in range(5):
        clock.now += 100
        store.put(bytes(10), "png")
    assert all(other.exists() for other in others)
    assert len(list(tmp_path.iterdir())) == len(others) + 1


def test_what_a_kill_left_half_written_goes_with_time(tmp_path: Path):
    half = tmp_path / f"{'a' * 43}.png.part"
    half.touch()
    clock = Clock()
    clock.now = half.stat().st_mtime + 61
    ImageStore(tmp_path, seconds=60, max_bytes=1000, clock=clock).put(bytes(10), "png")
    assert not half.exists()


def test_one_file_that_cannot_be_removed_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    store = ImageStore(tmp_path, seconds=60, max_bytes=1000, clock=clock)
    stays, goes = store.put(b"a", "png"), store.put(b"b", "png")
    whole = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == stays:
            raise PermissionError(errno.EPERM, "no")
        whole(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    clock.now += 61
    assert store.get(store.put(b"c", "png")) == b"c"
    assert (tmp_path / stays).exists() and not (tmp_path / goes).exists()


def test_a_check_leaves_nothing(tmp_path: Path):
    ImageStore(tmp_path / "images", 60, 10**6).check()
    assert list((tmp_path / "images").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UrlsUnavailable, match="b64_json"):
        ImageStore(tmp_path / "file", 60, 10**6).check()
