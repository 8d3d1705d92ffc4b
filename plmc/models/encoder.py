"""Where the parts of an encoder are: its blocks, its shape, the weights that pruning counts.

Covers Hugging Face BERT, RoBERTa, DistilBERT and ELECTRA, with or without a task head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from plmc.core.setting import Dims
from plmc.errors import ConfigError

# The six matrices of a block, as BERT, RoBERTa and ELECTRA name them, then as DistilBERT does.
_MATRICES = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "ffn.lin1",
    "ffn.lin2",
)
_USE = "Use BERT, RoBERTa, DistilBERT or ELECTRA."
_ATTENTION_DROPOUTS = ("attention.self.dropout", "attention.dropout")


def base(model: Any) -> Any:
    """The encoder without its task head."""
    return getattr(model, "base_model", model)


def layers(model: Any) -> nn.ModuleList:
    """The transformer blocks, first one nearest the embeddings. Raises ConfigError for another architecture."""
    encoder = base(model)
    for stack in ("encoder", "transformer"):
        blocks = getattr(getattr(encoder, stack, None), "layer", None)
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise ConfigError(f"{type(model).__name__} is not an encoder that plmc can take apart. {_USE}")


def embeddings(model: Any) -> nn.Module:
    """The embedding module: word, position and, where there are any, token type embeddings with their LayerNorm."""
    layers(model)
    found: nn.Module = base(model).embeddings
    return found


def record(config: Any) -> dict[str, Any]:
    """What plmc adds to a model's config: `shape`, `edits`, `quantization`."""
    return dict(getattr(config, "plmc", None) or {})


def set_record(config: Any, **entries: Any) -> None:
    """Sets entries of `record`; None removes one."""
    config.plmc = {key: value for key, value in {**record(config), **entries}.items() if value is not None}
    if not config.plmc:
        del config.plmc


def dims(source: Any) -> Dims:
    """Shape of a model or of its config; of blocks of different shape the largest. Raises ConfigError if it has
    none."""
    config = getattr(source, "config", source)
    own = record(config).get("shape", {})
    # DistilBERT maps all the other names to its own, but not this one.
    wanted = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    intermediate_of = "hidden_dim" if config.model_type == "distilbert" else "intermediate_size"
    lacking = [key for key in (*wanted, intermediate_of) if not isinstance(getattr(config, key, None), int)]
    if lacking:
        raise ConfigError(f"a model of type {config.model_type} has no {lacking[0]}: it is not an encoder. {_USE}")
    return Dims(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=max(own.get("heads") or [config.num_attention_heads]),
        intermediate=max(own.get("intermediate") or [getattr(config, intermediate_of)]),
        vocabulary=config.vocab_size,
    )


def set_layers(model: Any, kept: Sequence[int]) -> None:
    """Deletes all blocks but `kept` (0-based, ascending) in place; the config follows, so saving and reloading work.

    Raises ConfigError if `kept` is empty, not ascending or names a block that does not exist.
    """
    blocks = layers(model)
    kept = list(kept)
    if not kept or kept != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= len(blocks):
        raise ConfigError(
            f"cannot keep the layers {kept}: name some of 0 to {len(blocks) - 1} (0-based), ascending, each once."
        )
    # Descending, or each deletion would shift the ones to come.
    for index in sorted(set(range(len(blocks))) - set(kept), reverse=True):
        del blocks[index]
    module: Any
    for index, block in enumerate(blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index
    configs = {id(m.config): m.config for m in model.modules() if getattr(m, "config", None) is not None}
    for config in configs.values():
        config.num_hidden_layers = len(blocks)  # an alias of n_layers in DistilBERT
        if shape := record(config).get("shape"):
            set_record(config, shape={key: [each[index] for index in kept] for key, each in shape.items()})
    for module in model.modules():
        if hasattr(module, "n_layers"):
            module.n_layers = len(blocks)


def pruned_linears(model: Any) -> dict[str, nn.Linear]:
    """The six Linear modules of every block (query, key, value, attention output, feed-forward in and out) by name.

    Sparsity is quoted over their weights: 84.9M of BERT-base's 109M parameters. Raises ConfigError if a block has other
    matrices: some of them would be left out without a word (DeBERTa's query_proj, MPNet's attn.q).
    """
    blocks = layers(model)
    for block in blocks:
        linears = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
        other = [name for name in linears if name not in _MATRICES]
        if other or len(linears) != 6:
            raise ConfigError(
                f"{type(model).__name__} is not an encoder whose matrices plmc knows: its blocks have "
                f"{', '.join(other or linears)}. {_USE}"
            )
    inside = {id(module): name for block in blocks for name, module in block.named_modules()}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and inside.get(id(module)) in _MATRICES
    }


def pooler_linear(model: Any) -> dict[str, nn.Linear]:
    """The pooler's matrix by name, if the model has a pooler."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.endswith("pooler.dense")
    }


def hidden_dropouts(model: Any) -> list[nn.Dropout]:
    """The dropout modules that the config's hidden dropout feeds: embeddings, blocks, and a head without its own rate.

    Dropout on attention probabilities is not among them.
    """
    found = [module for module in embeddings(model).modules() if isinstance(module, nn.Dropout)]
    for block in layers(model):
        found += [
            module
            for name, module in block.named_modules()
            if isinstance(module, nn.Dropout) and name not in _ATTENTION_DROPOUTS
        ]
    if model.config.model_type != "distilbert" and model.config.classifier_dropout is None:
        encoder = {id(module) for module in base(model).modules()}
        found += [module for module in model.modules() if isinstance(module, nn.Dropout) and id(module) not in encoder]
    return found


def reshape(config, shape) -> None:
    """Gives a model config another shape (`plmc.models.spec.Shape`), in place; families name these fields
    differently."""
    set_record(config, shape=None, edits=None)
    for key, value in (
        ("num_hidden_layers", shape.layers),
        ("hidden_size", shape.width),
        ("num_attention_heads", shape.heads),
        ("intermediate_size", shape.intermediate),
    ):
        # attribute_map leads DistilBERT's n_layers, dim, n_heads and hidden_dim to the common names, where it has them.
        name = config.attribute_map.get(key, key)
        if not hasattr(config, name) and key == "intermediate_size":
            name = "hidden_dim"
        setattr(config, name, value)
    if hasattr(config, "embedding_size"):
        # ELECTRA projects a narrower embedding up; a student from scratch has both of one width.
        config.embedding_size = shape.width
