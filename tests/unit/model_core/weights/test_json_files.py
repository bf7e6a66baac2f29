"""Reading a model's JSON files: whatever is in them, the error names the file."""

import pytest

from model_core.errors import CorruptCheckpoint
from model_core.weights.json_files import read_json


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[1]", b"5", b"null", b"{", b"[" * 100_000, b'{"a": ' + b"9" * 5000]
)
def test_a_file_that_holds_no_object_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CorruptCheckpoint, match=r"config\.json"):
        read_json(tmp_path, "config.json")


def test_what_is_no_file_is_named(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CorruptCheckpoint, match=r"config\.json cannot be read"):
        read_json(tmp_path, "config.json")
