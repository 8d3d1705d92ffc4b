"""The model card of a run: README.md with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plmc.heads.base import Head
from plmc.report.labels import model_label
from plmc.report.render import number
from plmc.report.tables import markdown
from plmc.results.record import Latency, Record

HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
"""Names of metrics on the Hub, where they differ from ours."""

SOURCES = {"hub": "the Hugging Face Hub", "local": "local files", "embedded": "made-up texts that come with plmc"}
WHERE = {"model": "the folder next to this card", ".": "the folder of this card, or its name on the Hub"}

MADE_UP = (
    "> **Made-up training data.** This model was trained and judged on the small invented texts that come with plmc\n"
    "> (`data=embedded`). Its scores say nothing about real language. Do not use it, and do not cite its figures."
)


def model_card(
    record: Record,
    head: Head,
    *,
    base_model: str | None = None,
    papers: Mapping[str, str] | None = None,
    machine: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    place: str = "model",
) -> str:
    """The card as text.

    Args:
        record: of the run.
        head: the kind of task.
        base_model: Hub id that the student's weights come from, None for a model that is not on the Hub.
        papers: citation by method name.
        machine: see `plmc.measure.figures.machine`; the latency is worth little without it.
        labels: names of the classes in order.
        place: the model's folder as seen from the card.
    """
    parts = [
        _front_matter(record, head, base_model),
        f"# {record.label} on {record.task}",
        MADE_UP if _made_up(record) else "",
        _what(record, base_model),
        f"## How it was made\n\n```\n{record.command}\n```\n\n{_methods(record, papers or {})}",
        _hyperparameters(record),
        f"## Results\n\n{_results(record)}",
        f"## Classes\n\n{_classes(labels)}" if labels else "",
        f"## Cost\n\n{_cost(record, machine)}",
        f"## Exports\n\n{exports}" if (exports := _exports(record)) else "",
        f"## Use\n\n{_use(record, head, place)}",
        f"## Limits\n\n{_limits(record)}",
        f"## Versions\n\n{_versions(record)}" if record.versions else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(record: Record, head: Head, base_model: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    scores = [
        EvalResult(
            task_type=head.pipeline,
            dataset_type=record.task,
            dataset_name=record.task,
            metric_type=HUB_METRICS.get(metric, metric),
            metric_value=round(value, 6),
            verified=False,
        )
        for metric, value in record.metrics.items()
        if not _made_up(record)  # invented data must not reach a leaderboard
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=head.pipeline,
        tags=list(dict.fromkeys(["plmc", "model-compression", record.recipe, *record.methods])),
        base_model=base_model,
        metrics=[HUB_METRICS.get(metric, metric) for metric in record.metrics],
        model_name=f"{record.label}-{record.task}" if scores else None,
        eval_results=scores or None,
    )
    # Which licence is allowed depends on the base model and the data; that is for a person to decide.
    return (
        f"---\n# license: choose one that the base model and the data allow, before you publish\n{data.to_yaml()}\n---"
    )


def _made_up(record: Record) -> bool:
    return record.data_source == "embedded"


def overview(record: Record) -> str:
    """Scores with the teacher's, and cost, in Markdown, for pages that already show the command and the settings."""
    parts = [
        MADE_UP if _made_up(record) else "",
        _results(record),
        _cost(record, record.machine),
        _exports(record),
    ]
    return "\n\n".join(part for part in parts if part)


def _what(record: Record, base_model: str | None) -> str:
    student = record.student
    start = f"`{base_model or model_label(student.name)}`"
    teacher = record.teacher.metrics and record.teacher.name
    judged = f" Its figures are set against the teacher `{model_label(teacher)}`." if teacher else ""
    return (
        f"A compressed encoder for the task **{record.task}**: {number(student.parameters, 1e-6)} M "
        f"parameters, made from {start} with the recipe `{record.recipe}` by plmc.{judged}"
    )


def _methods(record: Record, papers: Mapping[str, str]) -> str:
    lines = [f"- `{name}`{': ' + papers[name] if name in papers else ''}" for name in record.methods]
    stages = ", ".join(f"{stage.name} ({stage.steps} updates)" for stage in record.stages)
    facts = f"Stages: {stages}. Seed {record.seed}." if stages else f"Seed {record.seed}."
    return "\n".join(["Methods:", "", *lines, "", facts]) if lines else facts


def _results(record: Record) -> str:
    teacher = record.teacher.metrics or {}
    rows = []
    for metric, value in record.metrics.items():
        reference = teacher.get(metric)
        useful = reference and reference > 0 and not record.teacher.learnt_nothing
        kept = number(value / reference, 100, 1, " %") if reference and useful else ""
        rows.append([metric, f"{100 * value:.2f}", *([number(reference, 100, 2), kept] if teacher else [])])
    table = markdown(["metric", "this model", *(["teacher", "kept"] if teacher else [])], rows)
    where = SOURCES.get(record.data_source, record.data_source or "an unnamed source")
    return f"{table}\n\nIn points of 100, on the validation rows; one seed. Training and evaluation data: {where}."


def _cost(record: Record, machine: Mapping[str, Any] | None) -> str:
    student, train, latency = record.student, record.train, record.latency
    lines = [
        ("parameters", number(student.parameters, 1e-6, 2, " M")),
        ("of them not zero", number(student.nonzero_parameters, 1e-6, 2, " M")),
        ("sparsity of the encoder's Linear weights", number(student.sparsity, 100, 1, " %")),
        ("weights on disk", number(student.size_bytes, 1e-6, 1, " MB")),
        ("latency of one row", _latency(latency, machine)),
        ("training time", number(train.seconds, 1 / 60, 1, " min")),
        ("peak memory in training", number(train.peak_memory_bytes, 1e-9, 2, " GB")),
    ]
    return "\n".join(f"- {name}: {text}" for name, text in lines if text)


def _latency(latency: Latency, machine: Mapping[str, Any] | None) -> str:
    own, teacher = latency.batch_1_ms, latency.teacher_batch_1_ms
    if not own:
        return ""
    text = f"{own:.2f} ms"
    if teacher:
        text += f" (teacher {teacher:.2f} ms: {teacher / own:.2f} times as fast)"
    on = latency.device or "cpu"
    if machine:
        on = machine["cpu"] if on == "cpu" else ", ".join(machine.get("gpus", [])) or on
    threads = latency.threads
    return f"{text}, median over real rows, on {on}" + (f", {threads} thread{'s' * (threads != 1)}" if threads else "")


def _hyperparameters(record: Record) -> str:
    """One column a stage."""
    stages = [stage for stage in record.stages if stage.settings]
    if not stages:
        return ""
    rows = [["updates", *(f"{stage.steps:,}" for stage in stages)]]
    # A stage has epochs or steps.
    names = dict.fromkeys(name for stage in stages for name in stage.settings)
    rows += [[name.replace("_", " "), *(str(stage.settings.get(name, "")) for stage in stages)] for name in names]
    rows += [["precision", *[record.precision] * len(stages)]]
    return "## Hyperparameters\n\n" + markdown(["setting", *(stage.name for stage in stages)], rows)


def _classes(labels: Sequence[str]) -> str:
    return "\n".join(f"- {number}: `{label}`" for number, label in enumerate(labels))


def _exports(record: Record) -> str:
    """Exports that the run made at its end (`quantize=…`), with what they were verified to score."""
    metric = record.primary_metric
    rows = [
        [
            f"`export/{name}`",
            number((facts.get("metrics") or {}).get(metric), 100, 2),
            f"{facts['change_points']:+.2f}" if facts.get("change_points") is not None else "",
            number(facts["size_bytes"], 1e-6, 1, " MB"),
            number(facts.get("batch_1_ms"), 1, 2, " ms"),
        ]
        for name, facts in record.exports.items()
        if "size_bytes" in facts
    ]
    return markdown(["folder", metric, "change", "size", "latency of one row"], rows) if rows else ""


def _versions(record: Record) -> str:
    commit = record.git.get("commit")
    names = [f"{name} {version}" for name, version in record.versions.items() if version]
    return ", ".join(names) + (f"; plmc's commit {commit}" if commit else "") + "."


def _use(record: Record, head: Head, place: str) -> str:
    if record.student.edits:
        lines = [
            f"This model has parts that transformers does not know ({', '.join(record.student.edits)}); its "
            "`from_pretrained` would leave them out.",
            "",
            "```python",
            "import plmc",
            "",
            f'model, tokenizer = plmc.load("{place}")  # {WHERE.get(place, "")}',
            "```",
        ]
        return "\n".join(lines)
    lines = [
        "```python",
        "from transformers import pipeline",
        "",
        f'model = pipeline("{head.pipeline}", model="{place}")  # {WHERE.get(place, "")}',
        f"print(model({head.sample}))",
        "```",
    ]
    return "\n".join(lines)


def _limits(record: Record) -> str:
    lines = [
        "One run with one seed; fine-tuning varies between seeds, so compare means of several.",
        "Where the best checkpoint was kept, the evaluation rows chose it: expect slightly less on unseen text.",
        "Latency holds for the machine and the row lengths it was measured with.",
        "Biases of base model, teacher and data are inherited; compression can enlarge them for rare cases.",
    ]
    if (record.student.sparsity or 0) > 0.01:
        lines.append(
            "Zeros are stored and multiplied like any number: sparsity alone saves neither space nor time here."
        )
    return "\n".join(f"- {line}" for line in [*lines, *record.warnings])
