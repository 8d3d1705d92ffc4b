"""Transformer-layer distillation of TinyBERT: embeddings, hidden states, attention scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import Amount, NotNegative
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.core.view import View
from plmc.errors import ConfigError
from plmc.losses.attention import attention_score_mse, unpadded_columns
from plmc.losses.hidden import hidden_mse
from plmc.methods.distill.layer_map import layer_map


@dataclass
class LayersKD(Method):
    """Each student layer imitates one teacher layer.

    L = λ_e MSE(E_S W_e, E_T) + Σ_{m=1..M} [λ_h MSE(H_S^m W_h, H_T^g(m)) + λ_a (1/h) Σ_i MSE(A_S^i, A_T^i)]
    (Jiao et al. 2019, arXiv 1909.10351, Eqs. 7 to 9, 11); E, H: `(B, T, D)`, E after its LayerNorm; A = Q Kᵀ/√d before
    the softmax, `(B, H, T, T)`.

    `mode=paper`: one W without bias for the embedding and one for each layer; the mean of a sentence runs over its real
    tokens (the paper does not speak of padding), then over sentences. `mode=official_code`: one linear map with bias
    for the embedding and all layers; scores of padded columns count as 0; the mean runs over all positions, padding
    included, so the loss of a row depends on the longest row of its batch.

    Composes badly with methods that change the number of layers or heads during the stage. The teacher's hidden states
    are stored like logits (`teacher.cache`) where there is no attention term and `mode=paper`.

    Terms: `attention`, `hidden`, `embedding`. Needs hidden states and scores of both models, and as many heads in both
    for attention. The head of the student gets no gradient.

    Attributes:
        attention: the λ, 1 in the paper; 0 leaves a term out, with all it needs.
        hidden: see `attention`.
        embedding: see `attention`.
        map: see `layer_map`.
        projection: `always` as in the paper, which has a W for any widths; `never`; `auto`: only if widths differ
            (`mode=official_code`: always).

    Raises:
        ConfigError: on unknown modes, maps that do not fit, unequal heads, widths without a projection.
    """

    family: ClassVar[str] = "distillation"
    by_row: ClassVar[bool] = False
    attention: NotNegative = 1.0
    hidden: NotNegative = 1.0
    embedding: NotNegative = 1.0
    map: str | Sequence[Amount] = "uniform"
    mode: Literal["paper", "official_code"] = "paper"
    projection: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        self._projections = nn.ModuleDict()

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        weights = {"attention": self.attention, "hidden": self.hidden, "embedding": self.embedding}
        return {name: weight for name, weight in weights.items() if weight}

    def required(self) -> frozenset[str]:
        outputs = set()
        if self.attention:
            outputs |= {"scores", "teacher.scores"}
        if self.hidden or self.embedding:
            outputs |= {"hidden_states", "teacher.hidden_states"}
            if self.mode == "official_code":
                outputs |= {"teacher.padding", "padding"}
        return frozenset(outputs)

    def teacher_layers(self, setting: Setting) -> frozenset[int]:
        mapped = layer_map(self.map, student=setting.student.layers, teacher=setting.shape.layers)
        return frozenset((mapped[:1] if self.embedding else ()) + (mapped[1:] if self.hidden else ()))

    def check(self, setting: Setting) -> None:
        if not self.terms():
            return
        student, teacher = setting.student, setting.shape
        layer_map(self.map, student=student.layers, teacher=teacher.layers)
        if self.attention and student.heads != teacher.heads:
            raise ConfigError(
                f"{self.name}: attention is compared head by head, but the student has {student.heads} heads and the "
                f"teacher {teacher.heads}. Set methods.{self.name}.attention=0, or take a student with {teacher.heads}."
            )
        if (self.hidden or self.embedding) and self.projection == "never" and student.width != teacher.width:
            raise ConfigError(
                f"{self.name}: the student is {student.width} wide and the teacher {teacher.width}, which needs a "
                f"projection. Set methods.{self.name}.projection=auto."
            )

    def modules(self, setting: Building) -> nn.Module | None:
        self._projections = nn.ModuleDict(self._build(setting))
        return self._projections if len(self._projections) else None

    def _build(self, setting: Setting) -> dict[str, nn.Module]:
        if not (self.hidden or self.embedding) or self.projection == "never":
            return {}
        narrow, wide = setting.student.width, setting.shape.width
        if self.mode == "official_code":
            return {"fit_dense": nn.Linear(narrow, wide)}
        if self.projection == "auto" and narrow == wide:
            return {}
        built: dict[str, nn.Module] = {}
        if self.embedding:
            built["embedding"] = nn.Linear(narrow, wide, bias=False)
        if self.hidden:
            layers = range(setting.student.layers)
            built["hidden"] = nn.ModuleList(nn.Linear(narrow, wide, bias=False) for _ in layers)
        return built

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if self.attention:
            student, teacher = view.student.all_scores, view.taught.all_scores
            layers = layer_map(self.map, student=len(student), teacher=len(teacher))[1:]
            losses["attention"] = reduce(
                torch.add,
                [
                    self._attention(own, teacher[layer - 1], view.mask)
                    for own, layer in zip(student, layers, strict=True)
                ],
            )
        if self.hidden or self.embedding:
            student, teacher = view.student.states, view.taught.states
            layers = layer_map(self.map, student=len(student) - 1, teacher=len(teacher) - 1)
            mask = view.mask if self.mode == "paper" else None
            if self.embedding:
                losses["embedding"] = hidden_mse(self._project(0, student[0]), teacher[0], mask)
            if self.hidden:
                losses["hidden"] = reduce(
                    torch.add,
                    [
                        hidden_mse(self._project(m, student[m]), teacher[layer], mask)
                        for m, layer in enumerate(layers[1:], start=1)
                    ],
                )
        return losses

    def _attention(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        if self.mode == "paper":
            return attention_score_mse(student, teacher, mask)
        return attention_score_mse(unpadded_columns(student, mask), unpadded_columns(teacher, mask))

    def _project(self, layer: int, states: Tensor) -> Tensor:
        """Hidden states of student layer `layer` (0: embedding) in the width of the teacher."""
        built: Any = self._projections
        if "fit_dense" in built:
            fitted: Tensor = built["fit_dense"](states)
            return fitted
        if layer == 0:
            return built["embedding"](states) if "embedding" in built else states
        return built["hidden"][layer - 1](states) if "hidden" in built else states
