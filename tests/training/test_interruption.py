"""Ctrl-C is let through between steps, and held back until its end within one."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minidl.training.interruption import interrupted_between_steps


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_between_steps_it_is_raised_at_once():
    with interrupted_between_steps(), pytest.raises(KeyboardInterrupt):
        interrupt()


def test_within_a_step_it_is_raised_when_the_step_is_whole():
    done = []
    with interrupted_between_steps() as step:
        with pytest.raises(KeyboardInterrupt), step:
            done.append("first half")
            interrupt()
            done.append("second half")
        with step:
            done.append("next step")
    assert done == ["first half", "second half", "next step"]


def test_a_second_one_within_the_same_step_is_raised_at_once():
    done = []
    with interrupted_between_steps() as step, pytest.raises(KeyboardInterrupt), step:
        interrupt()
        done.append("first")
        interrupt()
        done.append("second")
    assert done == ["first"]


def test_an_error_in_an_interrupted_step_is_not_hidden():
    with interrupted_between_steps() as step, pytest.raises(ZeroDivisionError), step:
        interrupt()
        1 / 0  # noqa: B018


def test_the_handler_is_put_back():
    with interrupted_between_steps():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_that_handles_the_signal_itself_keeps_its_handler():
    received = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        with interrupted_between_steps() as step, step:
            interrupt()
        assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, previous)


def test_in_another_thread_it_does_nothing():
    errors = []

    def work():
        try:
            with interrupted_between_steps() as step, step:
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_a_step_within_a_step_waits_for_the_outer_one():
    done = []
    with interrupted_between_steps() as step, pytest.raises(KeyboardInterrupt), step:
        with step:
            interrupt()
        done.append("rest of the outer step")
    assert done == ["rest of the outer step"]


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of POSIX")
def test_tests_that_run_in_the_background_can_press_ctrl_c_also_in_processes_of_their_own():
    show = "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)"
    program = (
        f"import signal, subprocess, sys\n{show}\nimport conftest\n{show}\n"
        f"subprocess.run([sys.executable, '-c', 'import signal; {show}'], check=True)"
    )
    command = ["sh", "-c", 'trap \'\' INT; exec "$0" -c "$1"', sys.executable, program]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60, cwd=root)
    assert done.stdout.split() == ["False", "True", "True"]
