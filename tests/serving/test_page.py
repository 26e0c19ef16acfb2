"""The Python example of docs/how-to/serve.md, at a service that runs."""

import re
from pathlib import Path

from tests.serving.clients import image_file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve.md"


def test_the_example_prints_a_verdict(service, samples, tmp_path, monkeypatch, capsys):
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "127.0.0.1:8000" in example
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(image_file(samples.images[0]))
    exec(example.replace(":8000", f":{service.port}"), {})
    assert capsys.readouterr().out.split()[0] in {"ID", "OOD"}
