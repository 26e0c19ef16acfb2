import warnings
from types import SimpleNamespace

import pytest

from ltood.core.errors import ConfigError
from ltood.runtime import console
from ltood.runtime.console import duration, log, one_line_errors, progress


def test_expected_failures_are_one_line(capsys):
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise ConfigError("a\nb")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: a b\n"


def test_what_was_given_is_cut_and_the_remedy_kept(capsys):
    for given in ("x" * 100_000, "x y " * 30_000):
        with pytest.raises(SystemExit), one_line_errors():
            raise ConfigError(f"{given!r} is not valid; choose another.")
        said = capsys.readouterr().err
        assert len(said) < 2100
        assert said.startswith("error: 'x")
        assert said.endswith("choose another.\n")


def test_control_characters_and_foreign_bytes_are_escaped(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise ConfigError("\x1b[31mred \udcff é")
    assert capsys.readouterr().err == "error: \\x1b[31mred \\udcff é\n"


def test_interrupts_end_with_130(capsys):
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_what_the_system_refuses_is_one_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(SystemExit) as caught, one_line_errors():
            path.open("w")
        assert caught.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {path}: ")
        assert "choose another path" in said
        assert said.count("\n") == 1


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        _ = 1 / 0


def test_warnings_are_one_line(capsys):
    with one_line_errors():
        warnings.simplefilter("always")
        warnings.warn("mind\nthis", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: mind this\n"


def test_progress_is_silent_without_a_terminal(capsys):
    with progress("work", 3) as advance:
        advance(1)
    log("news")
    assert capsys.readouterr().err == "news\n"


def test_progress_shows_rate_and_words_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with progress("work", 3, "images") as advance:
        for _ in range(3):
            advance(1, "loss 0.25")
    shown = capsys.readouterr().err
    assert "work" in shown
    assert "3/3" in shown
    assert "loss 0.25" in shown


def test_a_log_gets_a_line_now_and_then_and_not_for_each_step(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with progress("work", 1000, "images") as advance:
        for _ in range(100):
            clock[0] += 1.7
            advance(10, "loss 0.5")
    with progress("other", None) as advance:
        clock[0] += 100
        advance(50)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "work: 360 of 1,000 images, 6 images/s, 2 min left, loss 0.5",
        "work: 720 of 1,000 images, 6 images/s, 48 s left, loss 0.5",
        "other: 50 rows",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_are_said_as_people_do(seconds, words):
    assert duration(seconds) == words


def test_notes_of_an_error_follow_it(capsys):
    error = ConfigError("method is wrong.")
    error.add_note("params.yaml differs.")
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    assert capsys.readouterr().err == "error: method is wrong.\nparams.yaml differs.\n"


def test_a_message_is_written_at_once(monkeypatch):
    written = []
    monkeypatch.setattr(
        console.sys, "stderr", SimpleNamespace(write=written.append, flush=lambda: None)
    )
    error = ConfigError("k is 0")
    error.add_note("(said by process 1 of 2)")
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    log("done")
    assert [text for text in written if text] == [
        "error: k is 0\n(said by process 1 of 2)\n",
        "done\n",
    ]
