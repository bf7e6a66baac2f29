"""Signals as a real process meets them: a small program that waits to be stopped, then finishes what it has begun."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from deployments import stopping

PROGRAM = """
import sys, time
from deployments import stopping

stopping.INSIST_AFTER_S = float(sys.argv[1])
def say(words):
    print(words, flush=True)
with stopping.stoppable():
    try:
        say("waiting")
        time.sleep(120)
    except KeyboardInterrupt:
        pass
    try:
        with stopping.finishing(say):
            say("finishing")
            sys.stdin.readline()
            say("finished")
    except KeyboardInterrupt:
        say("broken off")
    say("cleaning up")
    sys.stdin.readline()
    say("clean")
"""
pytestmark = pytest.mark.timeout(120)  # a line that never comes
HUP, TERM, INT = signal.SIGHUP, signal.SIGTERM, signal.SIGINT
Start = Callable[..., "Program"]


class Program:
    """The program above: its lines are read, signals are sent."""

    def __init__(self, insist_after_s: float, *before: str):
        command = [*before, sys.executable, "-c", PROGRAM, str(insist_after_s)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.read() == "waiting"

    def read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def go_on(self) -> str:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()


@pytest.fixture
def start() -> Iterator[Start]:
    programs = []

    def start(*before: str, insist_after_s: float = 600) -> Program:
        programs.append(Program(insist_after_s, *before))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize("number", [HUP, TERM, INT])
def test_what_was_begun_is_finished(start: Start, number: int):
    program = start()
    program.send(number)
    assert program.read() == "finishing"
    assert program.go_on() == "finished"
    assert program.read() == "cleaning up"
    assert program.go_on() == "clean"
    assert program.process.wait(60) == 0


@pytest.mark.parametrize(("first", "second"), [(TERM, TERM), (INT, TERM), (HUP, TERM), (INT, INT)])
def test_a_second_signal_is_answered_and_breaks_off_nothing(start: Start, first: int, second: int):
    program = start()
    program.send(first)
    assert program.read() == "finishing"
    program.send(second)
    assert "still finishing" in program.read()
    assert program.go_on() == "finished"


def test_a_third_signal_breaks_off(start: Start):
    program = start()
    program.send(TERM)
    assert program.read() == "finishing"
    program.send(TERM)
    assert "a third time" in program.read()
    program.send(TERM)
    assert "broken off" in program.read()
    assert program.read() == "broken off"
    assert program.read() == "cleaning up"
    program.send(TERM)  # interrupts nothing any more
    assert program.go_on() == "clean"


def test_a_second_signal_some_time_after_the_first_breaks_off(start: Start):
    program = start(insist_after_s=0)
    program.send(TERM)
    assert program.read() == "finishing"
    program.send(TERM)
    assert "is broken off" in program.read()
    assert program.read() == "broken off"


def test_a_hangup_means_nothing_under_nohup(start: Start):
    program = start("nohup")
    program.send(HUP)
    program.send(TERM)
    assert program.read() == "finishing"
    program.send(HUP)
    assert program.go_on() == "finished"  # the hangups were not counted


def test_handlers_are_given_back():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    with pytest.raises(KeyboardInterrupt), stopping.stoppable():
        os.kill(os.getpid(), TERM)
        signal.pause()
    with stopping.stoppable(), stopping.finishing(pytest.fail):
        assert signal.getsignal(TERM) != before[TERM]
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == before


def test_words_that_cannot_be_said_stop_nothing():
    def say(words: str) -> None:
        raise RuntimeError("reentrant call")

    with stopping.stoppable(), stopping.finishing(say):
        os.kill(os.getpid(), TERM)
