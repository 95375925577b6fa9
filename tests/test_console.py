"""Notes where standard error may be anything: what cannot be written is dropped, and ends nothing."""

import io
import sys

import pytest
from streams import NO_STREAMS, OnlyWrites

from minidl.console import Console, streams_that_flush


@pytest.mark.parametrize("make", NO_STREAMS.values(), ids=NO_STREAMS)
def test_what_no_stream_takes_is_dropped(make):
    console = Console(make())
    console.write("a note\n")
    console.flush()
    assert console.isatty() is False


def test_a_stream_gets_what_is_written_and_says_what_it_is(tmp_path):
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        console = Console(file)
        console.write("a note\n")
        console.flush()
        assert (tmp_path / "log").read_text() == "a note\n"
        assert (console.isatty(), console.fileno(), console.encoding) == (False, file.fileno(), "utf-8")


def test_an_object_that_only_writes_is_a_stream_of_plain_text():
    stream = OnlyWrites()
    console = Console(stream)
    console.write("a note\n")
    console.flush()
    assert (stream.texts, console.isatty(), console.encoding) == (["a note\n"], False, "ascii")


@pytest.mark.parametrize("make", NO_STREAMS.values(), ids=NO_STREAMS)
def test_streams_that_cannot_be_flushed_are_replaced_for_a_while(monkeypatch, make):
    streams = make(), make()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with streams_that_flush():
        sys.stdout.flush()
        sys.stderr.flush()
        print("dropped", flush=True)
    assert (sys.stdout, sys.stderr) == streams


def test_streams_that_can_be_flushed_stay_and_what_only_writes_is_still_written_to(monkeypatch):
    out, errors = io.StringIO(), OnlyWrites()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", errors)
    with streams_that_flush():
        assert sys.stdout is out
        print("a note", file=sys.stderr, flush=True)
    assert "".join(errors.texts) == "a note\n"
