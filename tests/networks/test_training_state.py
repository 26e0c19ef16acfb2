import pytest
import torch

from ltood.core.errors import StoreError
from ltood.networks.training_state import load_state, save_state


def test_the_latest_state_comes_back(tmp_path):
    folder = tmp_path / "state"
    for step in (3, 12):
        save_state(folder, step, {"step": step, "weights": torch.full((2,), float(step))})
    state = load_state(folder)
    assert state["step"] == 12
    assert state["weights"].tolist() == [12, 12]
    (file,) = folder.iterdir()
    assert file.name.startswith("000000012-")


def test_tensors_of_any_device_come_back_on_the_cpu(tmp_path, monkeypatch):
    save_state(tmp_path, 1, {"weights": torch.ones(2)})
    load, asked = torch.load, []
    monkeypatch.setattr(
        torch, "load", lambda *args, **kwargs: (asked.append(kwargs), load(*args, **kwargs))[1]
    )
    assert load_state(tmp_path)["weights"].device.type == "cpu"
    assert asked[0]["map_location"] == "cpu"


def test_no_state(tmp_path):
    assert load_state(tmp_path / "state") is None
    (tmp_path / "000000001.pt.tmp").write_bytes(b"half")
    assert load_state(tmp_path) is None


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, monkeypatch):
    save_state(tmp_path, 1, {"step": 1})
    (older,) = tmp_path.iterdir()
    content = older.read_bytes()
    save_state(tmp_path, 2, {"step": 2})
    (newer,) = tmp_path.iterdir()
    older.write_bytes(content)
    damaged = bytearray(newer.read_bytes())
    damaged[-1] ^= 1
    newer.write_bytes(damaged)
    assert load_state(tmp_path) == {"step": 1}


def test_half_written_files_are_cleared_away(tmp_path):
    (tmp_path / "000000001-x.pt.tmp").write_bytes(b"half")
    save_state(tmp_path, 2, {})
    assert len(list(tmp_path.iterdir())) == 1


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


def test_executable_content_is_not_executed(tmp_path, capsys):
    save_state(tmp_path, 1, {"trap": Trap()})
    with pytest.raises(StoreError, match=r"holds executable content and is not read"):
        load_state(tmp_path)
    assert "executed" not in capsys.readouterr().out
