import pytest
import torch

from ltood.adapting import encoders
from ltood.adapting.encoders import text_encoder
from ltood.core.errors import DataError

META = {"backbone": {"name": "clip"}, "weights_sha256": "c0" * 32}


def model(vocabulary):
    from open_clip.model import CLIP

    vision = {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 32}
    text = {"context_length": 9, "vocab_size": vocabulary, "width": 16, "heads": 2, "layers": 1}
    return CLIP(8, vision, text, quick_gelu=True)


def put(monkeypatch, *parts):
    backbone = torch.nn.Sequential(torch.nn.Linear(2, 2), *parts)
    monkeypatch.setattr(encoders, "load_checkpoint", lambda path: (backbone, META))


def test_the_text_side_of_the_checkpoint_is_found(monkeypatch, tmp_path):
    clip = model(49408)
    put(monkeypatch, clip)
    found = text_encoder(tmp_path)
    assert found.weights_sha256 == META["weights_sha256"]
    assert found.vocabulary.context_length == found.tower.context_length == 9
    assert (found.tower.num_heads, found.tower.activation) == (2, "quick_gelu")
    tokens = torch.tensor([[49406, *found.vocabulary.encode("a cat"), 49407, 0, 0, 0, 0, 0]])
    encoded = found.tower.encode(found.tower.embed(tokens), torch.tensor([3]))
    with torch.inference_mode():
        expected = clip.eval().encode_text(tokens)
    torch.testing.assert_close(encoded, expected, atol=1e-6, rtol=1e-5)


def test_a_backbone_without_text_is_refused(monkeypatch, tmp_path):
    put(monkeypatch)
    with pytest.raises(DataError, match="backbone clip has no text encoder, of which"):
        text_encoder(tmp_path)


def test_other_words_are_refused(monkeypatch, tmp_path):
    put(monkeypatch, model(100))
    with pytest.raises(DataError, match="knows 100 tokens but CLIP's vocabulary has 49408"):
        text_encoder(tmp_path)
