"""What a scheme of 8-bit training quantizes, and how finely."""

from __future__ import annotations

from dataclasses import dataclass

from plmc.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """`rows`: a weight scale for each output row, else one for the tensor. `activations`: `symmetric` (int8, threshold
    max|x|), `affine` (uint8, least to largest value) or `dynamic` (affine, range of the tensor itself). `decay`: of the
    running range. `outputs`: outputs are quantized, too, but those of modules whose name has one of `exempt` and those
    outside the encoder if `head_outputs` is false. `pooler`, `head` (every Linear outside the encoder): quantize them.
    `table`: grid of an embedding, `symmetric` or `affine`."""

    rows: bool
    activations: str
    decay: float | None
    outputs: bool
    exempt: tuple[str, ...] = ()
    head_outputs: bool = True
    embeddings: bool
    pooler: bool = True
    head: bool
    table: str = "symmetric"


SCHEMES = {
    # Zafrir et al. 2019, arXiv 1910.06188: attention, feed-forward, pooler and embeddings; the task head stays in
    # float.
    "q8bert": Scheme(rows=False, activations="symmetric", decay=0.9999, outputs=True, embeddings=True, head=False),
    # Zafrir et al. 2021, arXiv 2111.05754; the names after the second are DistilBERT's for the same modules.
    "prune_ofa": Scheme(
        rows=False,
        activations="affine",
        decay=0.99,
        outputs=True,
        exempt=("output.dense", "value", "out_lin", "lin2", "v_lin"),
        head_outputs=False,
        embeddings=False,
        head=True,
    ),
    # The kernels of ONNX Runtime's dynamic quantization.
    "per_channel": Scheme(
        rows=True,
        activations="dynamic",
        decay=None,
        outputs=False,
        embeddings=True,
        head=True,
        table="affine",
    ),
    # The same with the ranges fixed: ONNX Runtime's static quantization, where no output of a product is quantized.
    "static": Scheme(
        rows=True, activations="affine", decay=0.99, outputs=False, embeddings=True, head=True, table="affine"
    ),
}


def scheme(name: str) -> Scheme:
    """The scheme of that name. Raises ConfigError if there is none."""
    if name not in SCHEMES:
        raise ConfigError(f"scheme={name} is unknown. Write one of {', '.join(SCHEMES)}.")
    return SCHEMES[name]
