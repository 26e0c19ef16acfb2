import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from ltood.clip import prompts as ops
from ltood.core.errors import ConfigError, DataError, MissingPackageError
from ltood.losses.local_entropy import irrelevant_patches, local_entropy_loss
from tests import prompt_samples

POSITIONS = ["end", "middle", "front"]
MODES = ["full", "cut", "prefix"]


def batch(g, position, mode):
    return ops.PromptBatch(prompt_samples.prompts(g), position, prompt_samples.tower(), mode)


def losses(g, encoded):
    """Both published losses and the logits they are made of, from features of the text."""
    text = normalize(encoded, dim=1)
    pooled = 100 * normalize(torch.tensor(g["vit/global"]), dim=-1) @ text.T
    local = 100 * normalize(torch.tensor(g["vit/local"]), dim=-1) @ text.T
    labels = torch.tensor(g["train/labels"])
    entropy = local_entropy_loss(local, labels, topk=int(g["train/topk"]))
    return cross_entropy(pooled, labels), entropy, pooled, local


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", ["shared", "csc"])
def test_features_losses_and_gradients_are_the_published_ones(kind, position, mode):
    g = prompt_samples.golden()
    context = torch.tensor(g[f"prompt/ctx_{kind}"], requires_grad=True)
    encoded = batch(g, position, mode).encode(context)
    expected = g[f"prompt/{kind}_{position}/text_features"]
    np.testing.assert_allclose(encoded.detach().numpy(), expected, atol=1e-5)
    case = f"train/{kind}_{position}"
    matched, entropy, _, _ = losses(g, encoded)
    assert matched.item() == pytest.approx(float(g[f"{case}/loss_id"]), rel=1e-5)
    assert entropy.item() == pytest.approx(float(g[f"{case}/loss_en"]), rel=1e-5)
    loss = matched + float(g["train/lambda"]) * entropy
    assert loss.item() == pytest.approx(float(g[f"{case}/loss"]), rel=1e-5)
    loss.backward()
    gradient = g[f"{case}/grad_ctx"]
    assert np.linalg.norm(context.grad.numpy() - gradient) < 1e-4 * np.linalg.norm(gradient)


def test_logits_and_chosen_patches_are_the_published_ones():
    g = prompt_samples.golden()
    context = torch.tensor(g["prompt/ctx_shared"])
    _, _, pooled, local = losses(g, batch(g, "end", "prefix").encode(context))
    np.testing.assert_allclose(pooled.numpy(), g["train/logits_global"], atol=2e-4)
    np.testing.assert_allclose(local.numpy(), g["train/logits_local"], atol=2e-4)
    labels = torch.tensor(g["train/labels"])
    found = irrelevant_patches(local, labels, topk=int(g["train/topk"]))
    assert found.tolist() == g["train/selected"].tolist()


@pytest.mark.parametrize("mode", MODES)
def test_three_steps_lead_to_the_published_context(mode):
    g = prompt_samples.golden()
    context = torch.tensor(g["prompt/ctx_shared"], requires_grad=True)
    prompts = batch(g, "end", mode)
    optimiser = torch.optim.SGD([context], lr=0.002, momentum=0.9, weight_decay=5e-4)
    for expected in g["train/ctx_after_sgd_steps"]:
        optimiser.zero_grad()
        matched, entropy, _, _ = losses(g, prompts.encode(context))
        (matched + float(g["train/lambda"]) * entropy).backward()
        optimiser.step()
        np.testing.assert_allclose(context.detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("end", "< a b c d name1 name2 . >"),
        ("middle", "< a b name1 name2 c d . >"),
        ("front", "< name1 name2 a b c d . >"),
    ],
)
def test_names_stand_where_they_are_told(position, expected):
    tower = prompt_samples.tower()
    words = {"<": 62, "name1": 20, "name2": 21, ".": 6, ">": 63}
    prompts = ops.learned_prompts(
        ["one two"],
        4,
        ops.Vocabulary(
            lambda text: {"one two": [20, 21]}.get(text, [5, 5, 5, 5, 20, 21, 6]), 62, 63, 16
        ),
    )
    vectors = torch.arange(4.0)[:, None].expand(-1, tower.width)
    rows = ops.PromptBatch(prompts, position, tower, "full").arrange(vectors)[0]
    for row, word in zip(rows, expected.split(), strict=False):
        want = (
            tower.embed(torch.tensor(words[word])) if word in words else vectors["abcd".index(word)]
        )
        assert torch.equal(row, want), word
    assert rows.shape == (16, tower.width)


def test_the_text_is_context_the_name_and_a_full_stop():
    vocabulary = ops.clip_vocabulary(77)
    prompts = ops.learned_prompts(["golden_retriever", "kite (bird of prey)"], 3, vocabulary)
    assert prompts.tokens[0, :8].tolist() == [49406, 343, 343, 343, 3878, 28394, 269, 49407]
    assert prompts.ends[0] == 7
    assert prompts.tokens[0, 8:].eq(0).all()
    # The bracket and the full stop are one token inside the prompt, two in the name and after.
    assert prompts.name_lengths.tolist() == [2, 6]
    assert prompts.ends[1] == 1 + 3 + 6


def test_whole_prompts_are_start_words_end_and_padding():
    found = ops.tokenise(["X X", "X."], prompt_samples.vocabulary(6))
    assert found.tokens.tolist() == [[62, 5, 5, 63, 0, 0], [62, 5, 6, 63, 0, 0]]
    assert found.ends.tolist() == [3, 3]


def test_a_context_that_is_too_long_is_refused():
    sentence = (
        r"class 1 \('11 12'\) takes 17 positions with 12 context vectors, .* has 15; set n_ctx"
    )
    with pytest.raises(DataError, match=f"{sentence} to 10 or less, or give it a shorter name"):
        ops.learned_prompts(["cat", "11 12"], 12, prompt_samples.vocabulary(15))
    with pytest.raises(DataError, match=r"encoder has 4; give it a shorter name"):
        ops.learned_prompts(["11 12"], 1, prompt_samples.vocabulary(4))
    ops.learned_prompts(["cat"], 12, prompt_samples.vocabulary(16))


def test_empty_prompts_and_contexts_are_refused():
    vocabulary = prompt_samples.vocabulary()
    with pytest.raises(DataError, match="class 1 has the name '_', which has no words"):
        ops.learned_prompts(["cat", "_"], 2, vocabulary)
    with pytest.raises(DataError, match="prompt 0 is '', which has no words"):
        ops.tokenise([""], vocabulary)
    with pytest.raises(ConfigError, match="there are 0 context vectors; at least 1"):
        ops.learned_prompts(["cat"], 0, vocabulary)


def test_a_missing_tokenizer_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(MissingPackageError, match=r"ltood\[clip\]"):
        ops.clip_vocabulary(77)
