"""What an export can be: its formats and the quantization schemes that each can hold. Read at config time: nothing
heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plmc.errors import ConfigError
from plmc.names import did_you_mean

FORMATS = ("onnx", "openvino", "torch")
NONE = "none"
# Scheme -> the formats that hold it, the usual one first, and what it is in a few words.
SCHEMES = {
    NONE: (("onnx", "openvino", "torch"), "float32"),
    "int8": (
        ("onnx", "openvino", "torch"),
        "int8, weights per channel, activations at each call (OpenVINO: static), embeddings too (torch: float32)",
    ),
    "int8-static": (("onnx",), "int8 with activation scales from training rows"),
    "weights8": (("onnx", "torch"), "int8 weights in groups of 32 (torch: per row), float32 activations: for size"),
    "int4": (("onnx",), "4-bit weights in groups of 32, int8 embeddings, float32 activations: smallest"),
    "bf16": (("torch",), "bfloat16 weights and arithmetic"),
}
CALIBRATED = ("int8-static",)


@dataclass(frozen=True)
class Plan:
    """What to make.

    Attributes:
        format: of `FORMATS`.
        scheme: of `SCHEMES`.
    """

    format: str
    scheme: str = NONE

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"--to {self.format}: there is no such format.{did_you_mean(self.format, FORMATS)}")
        check_scheme(self.scheme, "--quantize ")
        holds = SCHEMES[self.scheme][0]
        if self.format not in holds:
            able = [name for name, (formats, _) in SCHEMES.items() if self.format in formats]
            raise ConfigError(
                f"--to {self.format} --quantize {self.scheme}: {self.scheme} goes with --to {' or '.join(holds)}; "
                f"{self.format} takes {', '.join(able)}."
            )

    @property
    def name(self) -> str:
        """Of the export's folder."""
        return self.format if self.scheme == NONE else f"{self.format}-{self.scheme}"

    @property
    def packages(self) -> tuple[str, ...]:
        """What must be installed as well as plmc's own requirements."""
        graph = () if self.format == "torch" else ("onnx", "onnxscript", "onnxruntime")
        other: tuple[str, ...] = ("openvino",) if self.format == "openvino" else ()
        other += ("torchao",) if self.format == "torch" and self.scheme in ("int8", "weights8") else ()
        return (
            "zstandard",
            *graph,
            *other,
            *(("nncf",) if self.format == "openvino" and self.scheme == "int8" else ()),
        )

    @property
    def calibrated(self) -> bool:
        """Whether it needs rows to find the ranges of activations."""
        return self.scheme in CALIBRATED or (self.format == "openvino" and self.scheme == "int8")


def check_scheme(scheme: object, before: str = "quantize=") -> None:
    """Raises ConfigError with the nearest right name for an unknown scheme."""
    if scheme not in SCHEMES:
        raise ConfigError(f"{before}{scheme}: there is no such scheme.{did_you_mean(str(scheme), SCHEMES)}")


def asked(value: None | str | Sequence[str]) -> tuple[Plan, ...]:
    """The exports that the config's `quantize` asks for: null, a scheme or a list of schemes, each in its usual
    format."""
    schemes = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(schemes, (list, tuple)):
        raise ConfigError(f"quantize={value}: name a scheme ({', '.join(SCHEMES)}), a list of them, or null.")
    for scheme in schemes:
        check_scheme(scheme)
    return tuple(Plan(SCHEMES[scheme][0][0], scheme) for scheme in dict.fromkeys(schemes) if scheme != NONE)
