"""The parts of an encoder, with or without a task head: its blocks, its shape, the weights that pruning counts.

Where they are, the files of `plmc.models.families` say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from plmc.core.setting import Dims
from plmc.errors import ConfigError
from plmc.models.families.find import USE, of


def base(model: Any) -> Any:
    """The encoder without its task head."""
    return getattr(model, "base_model", model)


def layers(model: Any) -> nn.ModuleList:
    """The transformer blocks, first one nearest the embeddings. Raises ConfigError for another architecture."""
    encoder, family = base(model), of(model)
    # Other families are taken apart no further than this.
    for stack in (family.stack,) if family else ("encoder.layer", "transformer.layer"):
        blocks: Any = encoder
        for name in stack.split("."):
            blocks = getattr(blocks, name, None)
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise ConfigError(f"{type(model).__name__} is not an encoder that plmc can take apart. {USE}")


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
    wanted = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    intermediate_of = width_field(config)
    lacking = [key for key in (*wanted, intermediate_of) if not isinstance(getattr(config, key, None), int)]
    if lacking:
        raise ConfigError(f"a model of type {config.model_type} has no {lacking[0]}: it is not an encoder. {USE}")
    return Dims(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=max(own.get("heads") or [config.num_attention_heads]),
        intermediate=max(own.get("intermediate") or [getattr(config, intermediate_of)]),
        vocabulary=config.vocab_size,
    )


def width_field(config: Any) -> str:
    """The config's field for the width of the feed-forward layer."""
    family = of(config)
    return family.width if family else "intermediate_size"


def check_kept(config: Any, kept: Sequence[int]) -> None:
    """Raises ConfigError if a model without the other layers could not be saved: its first block is of a kind that the
    library builds first and nowhere else."""
    family = of(config)
    if family and family.first and 0 not in kept:
        raise ConfigError(
            f"the first layer of {family.name} is of another kind than the others, so it must stay. Keep layer 0, as "
            "layers=half and layers=[0,…] do."
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
    check_kept(model.config, kept)
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
        if getattr(config, "layer_types", None):  # whether a block of ModernBERT sees all tokens or those near by
            config.layer_types = [config.layer_types[index] for index in kept]
        config.num_hidden_layers = len(blocks)  # an alias of n_layers in DistilBERT
        if shape := record(config).get("shape"):
            set_record(config, shape={key: [each[index] for index in kept] for key, each in shape.items()})
    for module in model.modules():
        if hasattr(module, "n_layers"):
            module.n_layers = len(blocks)


def pruned_linears(model: Any) -> dict[str, nn.Linear]:
    """The Linear modules of every block by name: query, key, value, attention output, feed-forward in and out, of which
    some families have several in one.

    Sparsity is quoted over their weights: 84.9M of BERT-base's 109M parameters. Raises ConfigError if a block has other
    matrices: some of them would be left out without a word.
    """
    return {name: module for each in roles(model) for name, module in each.values()}


def roles(model: Any) -> list[dict[str, tuple[str, nn.Linear]]]:
    """Of each block the name and the module of every matrix by its role (`plmc.models.families.base`).

    Raises ConfigError for a family that plmc does not know, or for a block with other matrices than its family has.
    """
    family = of(model)
    names = {id(module): name for name, module in model.named_modules()}
    found = []
    for block in layers(model):
        linears = {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
        if family is None or linears.keys() != family.named:
            raise ConfigError(
                f"{type(model).__name__} is not an encoder whose matrices plmc knows: its blocks have "
                f"{', '.join(sorted(linears.keys() - (family.named if family else set())) or linears)}. {USE}"
            )
        found.append({role: (names[id(linears[name])], linears[name]) for role, name in family.matrices.items()})
    return found


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
    family = of(model)
    others = family.probabilities if family else ()
    found = [module for module in embeddings(model).modules() if isinstance(module, nn.Dropout)]
    for block in layers(model):
        found += [
            module for name, module in block.named_modules() if isinstance(module, nn.Dropout) and name not in others
        ]
    if family and family.head_dropout and getattr(model.config, "classifier_dropout", None) is None:
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
    if types := getattr(config, "layer_types", None):
        config.layer_types = [types[index % len(types)] for index in range(shape.layers)]
    if hasattr(config, "pooler_hidden_size"):  # of DeBERTa
        config.pooler_hidden_size = shape.width
    if hasattr(config, "embedding_size"):
        # ELECTRA projects a narrower embedding up; a student from scratch has both of one width.
        config.embedding_size = shape.width
