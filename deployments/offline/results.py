"""The folder of a batch that is drawn without a service: its pictures, and what is done, so that it can go on.

A picture is written before the line that says so, and a line in one piece: what a kill leaves is whole, and what it
cuts off is drawn again. Machines that share the folder write files of their own.

    images/00000012-1.png   the best picture of line 12
    done/…                  a line for each request that is done, by each who draws
    output.jsonl, errors.jsonl   the same in order, once all is done
"""

import contextlib
import fcntl
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployments.batches.queue import answer_line
from deployments.needs import writing
from model_core.errors import DalleServeError
from model_core.files import replacing, write_atomically

IMAGES, DONE, ABOUT = "images", "done", "batch.json"
OUTPUT, ERRORS = "output.jsonl", "errors.jsonl"

Json = dict[str, Any]


class Results:
    """A batch's folder.

    Raises:
      DalleServeError: it cannot be written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._mine: Path | None = None

    @contextlib.contextmanager
    def claimed(self, about: Json) -> Iterator[None]:
        """Holds the folder for one run of one batch.

        Args:
          about: what the pictures depend on.

        Raises:
          DalleServeError: another run has it, or it has another batch in it.
        """
        with writing(self.folder):
            (self.folder / DONE).mkdir(parents=True, exist_ok=True)
            (self.folder / IMAGES).mkdir(exist_ok=True)
            file = (self.folder / ABOUT).open("a+")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise DalleServeError(
                    f"Another run draws into {self.folder}: wait, or choose another, --out."
                ) from error
            file.seek(0)
            found = file.read()
            if not found:
                file.write(json.dumps(about))
                file.flush()
            elif found != json.dumps(about):
                raise DalleServeError(
                    f"{self.folder} holds another batch, or one of another model or settings: choose another, --out."
                )
            yield

    def done(self) -> set[int]:
        """Lines that are done; those that failed by no fault of their own are not."""
        return {answer["line"] for answer in self._answers() if answer["status"] < 500}

    def keep(self, line: int, answer_id: str, custom_id: str, reply: Json) -> None:
        """Writes the pictures of a reply of the gateway, and then that they are there."""
        names = [f"{IMAGES}/{line:08}-{rank}.{reply['output_format']}" for rank in range(1, len(reply["data"]) + 1)]
        with writing(self.folder):
            for name, image in zip(names, reply["data"], strict=True):
                write_atomically(self.folder / name, image["image"])
        told = [{key: value for key, value in image.items() if key != "image"} for image in reply["data"]]
        files = [{"file": name} | image for name, image in zip(names, told, strict=True)]
        self._note(line, answer_id, custom_id, 200, reply | {"data": files})

    def keep_refusal(self, line: int, answer_id: str, custom_id: str, status: int, body: Json) -> None:
        """Writes that a request could not be drawn."""
        self._note(line, answer_id, custom_id, status, body)

    def finish(self) -> tuple[int, int]:
        """Writes the answers in order, and says how many requests were drawn, and how many failed."""
        counts = {OUTPUT: 0, ERRORS: 0}
        answers: dict[int, Json] = {}
        for answer in self._answers():
            if answer["line"] not in answers or answers[answer["line"]]["status"] >= 500:
                answers[answer["line"]] = answer
        with writing(self.folder):
            for name, is_error in ((OUTPUT, False), (ERRORS, True)):
                with replacing(self.folder / name) as file:
                    for _, answer in sorted(answers.items()):
                        if (answer["status"] != 200) == is_error:
                            file.write(answer["answer"].encode() + b"\n")
                            counts[name] += 1
        return counts[OUTPUT], counts[ERRORS]

    def _note(self, line: int, answer_id: str, custom_id: str, status: int, body: Json) -> None:
        response = {"status_code": status, "request_id": answer_id, "body": body}
        answer = answer_line(answer_id, custom_id, response=response).decode().rstrip()
        noted = json.dumps({"line": line, "status": status, "answer": answer}) + "\n"
        with writing(self.folder):
            if self._mine is None:
                self._mine = self.folder / DONE / f"{secrets.token_hex(8)}.jsonl"
            with self._mine.open("ab", buffering=0) as file:  # so that it is written at once, and in one piece
                file.write(noted.encode())

    def _answers(self) -> Iterator[Json]:
        for path in sorted((self.folder / DONE).glob("*.jsonl")):
            with path.open(encoding="utf-8") as file:
                for line in file:
                    if line.endswith("\n"):  # else a kill has cut it off
                        yield json.loads(line)
