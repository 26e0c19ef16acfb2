import runpy
import sys


def test_python_m_ltood_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ltood", "list", "--help"])
    runpy.run_module("ltood", run_name="__main__")
    assert "ltood list" in capsys.readouterr().out
