import warnings

import pytest

from ltood.core.errors import ConfigError
from ltood.runtime.console import log, one_line_errors, progress


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
