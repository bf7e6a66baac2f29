import json
from pathlib import Path
from typing import Any

import pytest

from deployments.offline.results import Results
from model_core.errors import DalleServeError


def reply(*images: bytes, output_format: str = "png") -> dict[str, Any]:
    data = [{"image": image, "seed": 7 + place} for place, image in enumerate(images)]
    return {"created": 1, "output_format": output_format, "data": data}


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_pictures_and_answers_in_the_order_of_the_lines(tmp_path: Path):
    with Results(tmp_path / "out").claimed({}):
        for line, worker in ((3, Results(tmp_path / "out")), (1, Results(tmp_path / "out"))):
            worker.keep(line, f"r{line}", f"id-{line}", reply(b"best", b"second", output_format="webp"))
            worker.keep_refusal(line + 1, f"r{line + 1}", "no", 400, {"error": {"message": "no"}})
        found = Results(tmp_path / "out")
        assert found.done() == {1, 2, 3, 4}
        assert found.finish() == (2, 2)
    drawn = answers(tmp_path / "out/output.jsonl")
    assert [answer["custom_id"] for answer in drawn] == ["id-1", "id-3"]
    body = drawn[0]["response"]["body"]
    assert body["data"][0] == {"file": "images/00000001-1.webp", "seed": 7}
    assert (tmp_path / "out" / body["data"][1]["file"]).read_bytes() == b"second"
    refusals = answers(tmp_path / "out/errors.jsonl")
    assert [answer["id"] for answer in refusals] == ["r2", "r4"] and refusals[0]["response"]["status_code"] == 400


def test_what_a_kill_cut_off_is_not_done(tmp_path: Path):
    with Results(tmp_path).claimed({}):
        worker = Results(tmp_path)
        worker.keep(1, "r1", "a", reply(b"x"))
        worker.keep(2, "r2", "b", reply(b"x"))
        (file,) = (tmp_path / "done").iterdir()
        file.write_bytes(file.read_bytes()[:-9])
        assert Results(tmp_path).done() == {1}


def test_what_the_service_failed_at_is_tried_again_and_its_last_answer_counts(tmp_path: Path):
    with Results(tmp_path).claimed({}):
        Results(tmp_path).keep_refusal(1, "r1", "a", 500, {})
        assert Results(tmp_path).done() == set()
        assert Results(tmp_path).finish() == (0, 1)
        Results(tmp_path).keep(1, "r1", "a", reply(b"x"))
        Results(tmp_path).keep(1, "r1", "a", reply(b"x"))  # by a worker that did not know of the other
        assert Results(tmp_path).finish() == (1, 0)


def test_a_folder_is_one_batchs_and_one_runs(tmp_path: Path):
    with Results(tmp_path).claimed({"model": "a"}), pytest.raises(DalleServeError, match="Another run draws into"):
        Results(tmp_path).claimed({"model": "a"}).__enter__()
    with Results(tmp_path).claimed({"model": "a"}):
        pass
    with pytest.raises(DalleServeError, match="holds another batch"):
        Results(tmp_path).claimed({"model": "b"}).__enter__()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DalleServeError, match="choose another, --out"):
        Results(tmp_path / "file" / "out").claimed({}).__enter__()
