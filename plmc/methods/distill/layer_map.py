"""Which teacher layer each student layer learns from."""

from __future__ import annotations

from collections.abc import Sequence

from plmc.errors import ConfigError

STRATEGIES = ("uniform", "top", "bottom")


def layer_map(strategy: str | Sequence[int], *, student: int, teacher: int) -> tuple[int, ...]:
    """g(0), …, g(M): indices into the teacher's `hidden_states` (0 is the embedding output), for M student layers.

    Args:
        strategy: `uniform` g(m) = m N / M, `top` g(m) = m + N - M, `bottom` g(m) = m for N teacher layers (Jiao et al.
            2019, Section 4.1), or a list of the M teacher layers g(1), …, g(M), counted from 1. g(0) is 0 always.
            1-based layer g(m) has its attention at index g(m) - 1.

    Raises:
        ConfigError: if the map leaves the teacher, or `uniform` does not divide.
    """
    if not isinstance(strategy, str):
        return _explicit(list(strategy), student=student, teacher=teacher)
    if strategy not in STRATEGIES:
        raise ConfigError(
            f"layer map: {strategy!r} is unknown. Use {', '.join(STRATEGIES)}, or a list of {student} teacher layers."
        )
    if student > teacher:
        raise ConfigError(
            f"layer map: {student} student layers cannot be mapped to {teacher} teacher layers by {strategy!r}. "
            f"Take a shallower student or a deeper teacher, or list {student} layers from 1 to {teacher}."
        )
    if strategy == "top":
        return (0, *range(teacher - student + 1, teacher + 1))
    if strategy == "bottom":
        return tuple(range(student + 1))
    if teacher % student:
        fitting = [m for m in range(1, teacher + 1) if teacher % m == 0]
        raise ConfigError(
            f"layer map: {teacher} teacher layers do not divide by {student} student layers, so map=uniform has no "
            f"layer m N / M. Use a student of {', '.join(map(str, fitting))} layers, map=top, map=bottom, or a list."
        )
    return tuple(range(0, teacher + 1, teacher // student))


def _explicit(layers: list[int], *, student: int, teacher: int) -> tuple[int, ...]:
    if len(layers) != student:
        raise ConfigError(
            f"layer map: {layers} names {len(layers)} teacher layers, but the student has {student}. Name {student}."
        )
    for m, layer in enumerate(layers, start=1):
        if not 1 <= layer <= teacher:
            raise ConfigError(
                f"layer map: {m}→{layer}, but the teacher has {teacher} layers. Use layers 1 to {teacher}."
            )
    return (0, *layers)
