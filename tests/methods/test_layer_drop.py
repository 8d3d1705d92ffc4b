"""Layer dropping, and the encoder helpers it stands on."""

from itertools import pairwise

import datasets
import numpy as np
import pytest
import torch
from loop import batch, equal, setting, start, tiny
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from plmc.core.rows import Ragged, Split, TaskData
from plmc.core.setting import Dims
from plmc.errors import ConfigError, TrainingError
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.layers.strategies import dropped, least_contributing
from plmc.methods.layers.surgery import contribution_scores, sample_rows
from plmc.models.encoder import dims, embeddings, layers, pruned_linears, set_layers

SMALL = dict(num_hidden_layers=4, num_attention_heads=4, vocab_size=100, max_position_embeddings=40)


def family(name):
    torch.manual_seed(0)
    if name == "bert":
        return tiny().eval()
    if name == "distilbert":
        return DistilBertForSequenceClassification(DistilBertConfig(dim=32, hidden_dim=64, **SMALL)).eval()
    kind = {"roberta": RobertaConfig, "electra": ElectraConfig}[name]
    config = kind(hidden_size=32, intermediate_size=64, **SMALL)
    head = {"roberta": RobertaForQuestionAnswering, "electra": ElectraForSequenceClassification}[name]
    return head(config).eval()


FAMILIES = pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra"])


def inputs(rows=4):
    whole = batch(0, rows=rows)
    return {key: whole[key] for key in ("input_ids", "attention_mask")}


def answer(model):
    out = model(**inputs())
    return out.logits if "logits" in out else out.start_logits


def split(lengths=(3, 9, 5, 12, 7, 4, 10)) -> Split:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = Ragged(rng.integers(5, 100, offsets[-1]), offsets)
    rows = np.arange(len(lengths))
    raw = datasets.Dataset.from_dict({"id": rows})
    return Split({"input_ids": ids}, None, rows, raw, rows, "fixed")


DATA = TaskData(train=None, evaluation={"validation": split()}, source="custom")


@pytest.mark.parametrize(
    "strategy, layers, k, paper",
    [
        ("top", 12, 2, [11, 12]),
        ("top", 12, 4, [9, 10, 11, 12]),
        ("top", 12, 6, [7, 8, 9, 10, 11, 12]),
        ("even_alternate", 12, 2, [10, 12]),
        ("even_alternate", 12, 4, [6, 8, 10, 12]),
        ("even_alternate", 12, 6, [2, 4, 6, 8, 10, 12]),
        ("odd_alternate", 12, 2, [9, 11]),
        ("odd_alternate", 12, 4, [5, 7, 9, 11]),
        ("odd_alternate", 12, 6, [1, 3, 5, 7, 9, 11]),
        ("symmetric", 12, 2, [6, 7]),
        ("symmetric", 12, 4, [5, 6, 7, 8]),
        ("symmetric", 12, 6, [4, 5, 6, 7, 8, 9]),
        ("bottom", 12, 2, [1, 2]),
        ("bottom", 12, 4, [1, 2, 3, 4]),
        ("bottom", 12, 6, [1, 2, 3, 4, 5, 6]),
        ("top", 6, 3, [4, 5, 6]),
        ("symmetric", 6, 2, [3, 4]),
        ("even_alternate", 7, 3, [2, 4, 6]),
        ("odd_alternate", 7, 4, [1, 3, 5, 7]),
        ("symmetric", 7, 3, [3, 4, 5]),
    ],
)
def test_strategies_name_the_layers_of_the_paper(strategy, layers, k, paper):
    assert [index + 1 for index in dropped(strategy, layers, k)] == paper


@pytest.mark.parametrize("strategy", ["top", "bottom", "even_alternate", "odd_alternate", "symmetric"])
def test_strategies_drop_exactly_k_distinct_layers(strategy):
    for count in (5, 6, 12):
        for k in range(count):
            try:
                gone = dropped(strategy, count, k)
            except ConfigError:
                assert strategy == "symmetric" and (count - k) % 2 or "alternate" in strategy and k > count // 2
                continue
            assert len(set(gone)) == len(gone) == k and set(gone) <= set(range(count)) and gone == sorted(gone)


@pytest.mark.parametrize(
    "strategy, layers, k, says",
    [
        ("symmetric", 12, 3, "Write k=2 or k=4$"),
        ("symmetric", 6, 1, "Write k=0 or k=2$"),
        ("symmetric", 4, 3, "Write k=2$"),
        ("even_alternate", 12, 7, "can drop at most 6 of 12 layers, not k=7"),
        ("top", 4, 4, "k=4 of 4 layers cannot be dropped. Write k=0 to k=3"),
        ("top", 4, -1, "k=-1 of 4 layers"),
    ],
)
def test_what_a_strategy_cannot_drop_is_refused_with_what_it_can(strategy, layers, k, says):
    with pytest.raises(ConfigError, match=says):
        dropped(strategy, layers, k)


@FAMILIES
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [0, 1], [1, 3], [2]])
def test_the_cut_model_is_the_kept_layers_composed(name, kept, hooked, tmp_path):
    model = family(name)
    if hooked:  # transformers installs its capturing hooks on the first such forward
        model(**inputs(), output_hidden_states=True, output_attentions=True)
    manual = family(name)
    blocks = layers(manual)
    for index in range(3, -1, -1):
        if index not in kept:
            blocks[index].forward = lambda hidden, *args, **kwargs: hidden
    expected = answer(manual)
    set_layers(model, kept)
    assert torch.equal(answer(model), expected)
    states = model(**inputs(), output_hidden_states=True).hidden_states
    assert len(states) == len(kept) + 1
    assert dims(model).layers == dims(model.config).layers == len(kept)
    indices = [[m.layer_idx for m in block.modules() if hasattr(m, "layer_idx")] for block in layers(model)]
    assert all(found == [position] * len(found) for position, found in enumerate(indices))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(answer(again), expected)


@FAMILIES
def test_the_parts_of_every_family_are_found(name):
    model = family(name)
    assert dims(model) == dims(model.config) == Dims(layers=4, width=32, heads=4, intermediate=64, vocabulary=100)
    found = pruned_linears(model)
    assert len(found) == 24 and sum(m.weight.numel() for m in found.values()) == 4 * (4 * 32 * 32 + 2 * 32 * 64)
    assert all(model.get_submodule(path) is module for path, module in found.items())
    assert set(pruned_linears(model.base_model)) == {path.split(".", 1)[1] for path in found}
    assert any(isinstance(module, torch.nn.Embedding) for module in embeddings(model).modules())


def test_another_architecture_is_refused():
    with pytest.raises(ConfigError, match="Linear is not an encoder"):
        layers(torch.nn.Linear(2, 2))
    for kept in ([], [4], [-1], [1, 0], [1, 1]):
        with pytest.raises(ConfigError, match="0 to 3"):
            set_layers(tiny(), kept)


def test_dropping_the_top_gives_the_hidden_state_below():
    full = tiny().eval()
    states = full.bert(**inputs(), output_hidden_states=True).hidden_states
    for k in range(4):
        cut = start({"layer_drop": LayerDrop(strategy="top", k=k)}).model.eval()
        assert torch.equal(cut.bert(**inputs()).last_hidden_state, states[4 - k])


def test_dropping_nothing_changes_nothing():
    for method in (LayerDrop(strategy="top", k=0), LayerDrop(drop=[]), LayerDrop(keep=[0, 1, 2, 3])):
        model = start({"layer_drop": method}).model.eval()
        assert torch.equal(answer(model), answer(tiny().eval()))


def test_bert_base_loses_seven_million_parameters_a_layer():
    with torch.device("meta"):
        model = BertModel(BertConfig())
    assert sum(p.numel() for p in model.parameters()) == 109_482_240
    assert sum(m.weight.numel() for m in pruned_linears(model).values()) == 84_934_656
    set_layers(model, range(6))
    assert sum(p.numel() for p in model.parameters()) == 66_955_008 == 109_482_240 - 6 * 7_087_872


def test_everything_else_is_untouched_and_everything_left_learns():
    full = dict(tiny().named_parameters())
    run = start({"layer_drop": LayerDrop(drop=[3, 1])})
    for name, value in run.model.named_parameters():
        assert torch.equal(value, full[name.replace("layer.1.", "layer.2.")]), name
    run.go(until=1)
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in run.model.named_parameters() if "key.bias" not in n
    )


def test_work_falls_in_proportion_to_the_layers():
    def flops(k):
        model = start({"layer_drop": LayerDrop(strategy="top", k=k)}).model.eval()
        with FlopCounterMode(display=False) as counter:
            model(**inputs())
        return counter.get_total_flops()

    counts = [flops(k) for k in range(4)]
    steps = [a - b for a, b in pairwise(counts)]
    assert len(set(steps)) == 1 and counts[0] - 4 * steps[0] < 0.1 * counts[0]


def test_scores_do_not_depend_on_batching_and_padding():
    for name in ("bert", "roberta", "distilbert", "electra"):
        model = family(name).train()
        rows = sample_rows(split(), 100)
        one = contribution_scores(model, split(), rows, batch_size=1)
        assert len(one) == 4 and all(-1 <= score <= 1 for score in one)
        assert model.training and all(module.training for module in model.modules())
        for size in (2, 7):
            assert contribution_scores(model, split(), rows, batch_size=size) == pytest.approx(one, abs=1e-5)


def test_scores_are_the_cosines_of_the_first_token():
    model = tiny().eval()
    expected = []
    for row in range(7):
        ids = torch.as_tensor(split().columns["input_ids"][row])[None]
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
        expected.append([torch.cosine_similarity(a[0, 0], b[0, 0], dim=0).item() for a, b in pairwise(states)])
    assert contribution_scores(model, split(), np.arange(7)) == pytest.approx(
        np.mean(expected, axis=0).tolist(), abs=1e-5
    )


def identity(model, index):
    layers(model)[index].forward = lambda hidden, *args, **kwargs: hidden
    return model


@pytest.mark.parametrize("index", [0, 2])
def test_a_layer_that_does_nothing_scores_one_and_goes_first(index):
    run = start({"layer_drop": LayerDrop(strategy="contribution", k=1)}, model=identity(tiny(), index), data=DATA)
    method = run.chain["layer_drop"]
    assert method.scores[index] == pytest.approx(1.0, abs=1e-9) and max(method.scores) == method.scores[index]
    assert method.state_dict()["dropped"] == [index]
    high = LayerDrop(strategy="contribution", threshold=0.999999)
    start({"layer_drop": high}, model=identity(tiny(), index), data=DATA)
    assert high.state_dict()["dropped"] == [index]


def test_half_of_the_layers_by_contribution():
    half = LayerDrop(strategy="contribution", k="half")
    run = start({"layer_drop": half}, model=tiny(), data=DATA)
    assert len(half.state_dict()["dropped"]) == 2 and dims(run.model).layers == 2
    again = LayerDrop(strategy="contribution", k="half")
    start({"layer_drop": again}, model=tiny(), data=DATA)
    scores, again.scores = again.scores, None
    again.load_state_dict(half.state_dict())
    assert again.scores == half.scores == scores and len(scores) == 4


def test_thresholds_and_counts():
    scores = [0.2, 0.9, 0.5, 0.9]
    assert least_contributing(scores, threshold=1.0001) == [] == least_contributing(scores, k=0)
    assert least_contributing(scores, threshold=0.5) == [1, 3]
    assert least_contributing(scores, k=1) == [3] and least_contributing(scores, k=3) == [1, 2, 3]
    with pytest.raises(ConfigError, match="0.2000 and 0.9000"):
        least_contributing(scores, threshold=0.1)


def test_rows_are_spread_and_the_same_in_every_run():
    assert sample_rows(split(), 3).tolist() == [0, 3, 6] and sample_rows(split(), 99).tolist() == list(range(7))


@pytest.mark.parametrize(
    "fields", [dict(strategy="contribution", k=2), dict(strategy="symmetric", k=2), dict(keep=[0, 3])]
)
def test_resume_is_bitwise_and_finds_the_same_layers(fields):
    whole = start({"layer_drop": LayerDrop(**fields)}, data=DATA).go()
    state = start({"layer_drop": LayerDrop(**fields)}, data=DATA).go(until=7).state()
    resumed = start({"layer_drop": LayerDrop(**fields)}, data=DATA)
    resumed.load(state)
    assert equal(whole.history[-1], resumed.go().history[-1])


def test_a_checkpoint_with_other_layers_is_refused():
    state = start({"layer_drop": LayerDrop(strategy="top", k=2)}).chain.state_dict()
    with pytest.raises(TrainingError, match=r"drop=\[2, 3\]"):
        start({"layer_drop": LayerDrop(strategy="bottom", k=2)}).chain.load_state_dict(state)


def test_the_shape_after_the_cut_is_known_before_unless_data_decides():
    before = Dims(12, 768, 12, 3072, 30522)
    assert LayerDrop(strategy="top", k=6).dims_after(before) == Dims(6, 768, 12, 3072, 30522)
    assert LayerDrop(strategy="contribution", k=4).dims_after(before).layers == 8
    assert LayerDrop(strategy="contribution", k="half").dims_after(before).layers == 6
    assert LayerDrop(strategy="bottom", k="half").dims_after(before).layers == 6
    assert LayerDrop(keep=[0, 11]).dims_after(before).layers == 2
    assert LayerDrop(strategy="contribution", threshold=0.9).dims_after(before) is None


@pytest.mark.parametrize(
    "fields, says",
    [
        (dict(), "got none. Write strategy=top k=6"),
        (dict(strategy="top"), "strategy=top wants k"),
        (dict(strategy="middle", k=1), "strategy=middle must be top, bottom, even_alternate"),
        (dict(strategy="top", k=1, drop=[0]), "got strategy and drop. "),
        (dict(drop=[0], keep=[1]), "got drop and keep. "),
        (dict(drop=[0], k=1), "not to drop. Set k=null"),
        (dict(keep=[0], threshold=0.5), "not to keep. Set k=null threshold=null"),
        (dict(strategy="top", k=1, threshold=0.9), "and no threshold"),
        (dict(strategy="contribution"), "either k or threshold"),
        (dict(strategy="contribution", k=1, threshold=0.9), "either k or threshold"),
        (dict(strategy="top", k=-1), "k=-1 must be half or a whole number 0 or more"),
        (dict(strategy="top", k="most"), "k=most must be half or"),
        (dict(strategy="contribution", k=1, rows=0), "rows=0 must be a whole number greater than 0"),
    ],
)
def test_nonsense_is_refused(fields, says):
    with pytest.raises(ConfigError, match=says):
        LayerDrop(**fields)
    assert LayerDrop(strategy="top", k=0).k == 0 and LayerDrop(strategy="contribution", threshold=0.5).k is None
    assert LayerDrop(keep=[2, 0, 1]).keep == [0, 1, 2] and LayerDrop(drop=[3, 1]).drop == [1, 3]


@pytest.mark.parametrize(
    "fields, says",
    [
        (dict(drop=[4]), "0-based"),
        (dict(drop=[-1]), "0-based"),
        (dict(keep=[0, 0]), "once"),
        (dict(keep=[]), "At least one"),
        (dict(drop=[0, 1, 2, 3]), "At least one"),
        (dict(strategy="top", k=4), "one must stay"),
        (dict(strategy="contribution", k=4), "one must stay"),
    ],
)
def test_layers_the_student_lacks_are_refused_before_training(fields, says):
    with pytest.raises(ConfigError, match=says):
        LayerDrop(**fields).dims_after(setting().student)


def test_contribution_without_data_says_so():
    with pytest.raises(ConfigError, match="strategy=top"):
        start({"layer_drop": LayerDrop(strategy="contribution", k=1)})


def test_the_layers_that_stay_are_told():
    assert LayerDrop(drop=[0]).metrics() == {"layers": 0.0}
    run = start({"drop": LayerDrop(drop=[0, 2])}, total=2).go()
    assert run.chain.metrics()["drop/layers"] == 2.0
