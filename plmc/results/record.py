"""The record of a finished run, typed: the content of `result.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from plmc import digests
from plmc.errors import DamagedFile
from plmc.files import write_record

FILE = "result.json"
VERSION = 1
FINISHED = "finished"


class Part(BaseModel):
    """A part of a record. Fields that this version does not know are kept when the record is written again."""

    model_config = ConfigDict(extra="allow", validate_assignment=False)


def _or_empty(value: Any) -> Any:
    # Earlier versions wrote null for a part without content.
    return {} if value is None else value


class Size(Part):
    """Figures of a model's weights; `sparsity` is that of the encoder's Linear weights, 0 to 1."""

    parameters: int | None = None
    nonzero_parameters: int | None = None
    size_bytes: int | None = None
    sparsity: float | None = None


class Student(Size):
    """What the student was made from, and what its weights are now.

    Attributes:
        edits: parts that it has and transformers' models have not.
    """

    name: str = ""
    edits: list[str] = []
    commit: str | None = None


class Teacher(Size):
    """The teacher: `learned_from` says whether a stage looked at it; `metrics` are None if it was not judged."""

    learned_from: bool | None = None
    name: str | None = None
    metrics: dict[str, float] | None = None
    commit: str | None = None
    digest: str | None = None
    learnt_nothing: bool | None = None


class StageResult(Part):
    """One stage: updates made, seconds, rows seen, the metrics of the kept weights and their update, its warnings, and
    how many parameters it trained."""

    name: str
    steps: int = 0
    seconds: float = 0.0
    samples: int = 0
    best_step: int = -1
    metrics: dict[str, float] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    trained_parameters: int | None = None


class Training(Part):
    """What training cost, and in how many processes."""

    processes: int = 1
    seconds: float | None = None
    samples_per_second: float | None = None
    peak_memory_bytes: int | None = None
    wall_seconds_of_last_start: float | None = None


class Latency(Part):
    """Median milliseconds of one row, the student's and the teacher's, taken in turns; None if not measured."""

    device: str | None = None
    batch_1_ms: float | None = None
    teacher_batch_1_ms: float | None = None
    threads: int | None = None
    rows: int | None = None
    other_cores: float | None = None
    student_quartiles_ms: list[float] | None = None
    teacher_quartiles_ms: list[float] | None = None


class Tracked(Part):
    """Where MLflow has the run."""

    tracking_uri: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    warnings: list[str] = Field(default_factory=list)


class Record(Part):
    """A finished run.

    Attributes:
        version: of this format.
        metrics: of the first evaluation split under plain names, of others with a suffix; `primary_metric` heads
        tables. collapsed: evaluation splits whose rows all get the same answer although their labels differ.
        families: what the methods do: distillation, pruning, quantization; None in records of earlier versions.
        exports: figures of the exports that `quantize=` made, by name, or why one was refused.
        files: digests of the run's files, by path below its folder.
    """

    version: int = VERSION
    signature: str
    status: str = FINISHED
    recipe: str
    task: str
    data_source: str = ""
    seed: int
    methods: list[str] = Field(default_factory=list)
    families: list[str] | None = None
    stages: list[StageResult] = Field(default_factory=list)
    metrics: dict[str, float]
    collapsed: list[str] = Field(default_factory=list)
    teacher: Annotated[Teacher, BeforeValidator(_or_empty)] = Field(default_factory=Teacher)
    student: Annotated[Student, BeforeValidator(_or_empty)] = Field(default_factory=Student)
    data_commit: str | None = None
    train: Annotated[Training, BeforeValidator(_or_empty)] = Field(default_factory=Training)
    latency: Annotated[Latency, BeforeValidator(_or_empty)] = Field(default_factory=Latency)
    mlflow: Annotated[Tracked, BeforeValidator(_or_empty)] = Field(default_factory=Tracked)
    versions: Annotated[dict[str, str | None], BeforeValidator(_or_empty)] = Field(default_factory=dict)
    machine: Annotated[dict[str, Any], BeforeValidator(_or_empty)] = Field(default_factory=dict)
    primary_metric: str
    role: str = "student"
    label: str = ""
    command: str = ""
    sweep: str = ""
    git: Annotated[dict[str, str], BeforeValidator(_or_empty)] = Field(default_factory=dict)
    precision: str = ""
    warnings: list[str] = Field(default_factory=list)
    folder: str = ""
    exports: Annotated[dict[str, dict[str, Any]], BeforeValidator(_or_empty)] = Field(default_factory=dict)
    files: Annotated[dict[str, str], BeforeValidator(_or_empty)] = Field(default_factory=dict)

    @property
    def score(self) -> float:
        """Value of the primary metric."""
        return self.metrics[self.primary_metric]

    @property
    def title(self) -> str:
        """The label, or what earlier versions had in its place."""
        return self.label or self.recipe

    def write(self, path: Path) -> None:
        """Writes the record to `path`, with its own digest, in one step."""
        write_record(path, self.model_dump())


def of_folder(folder: Path) -> Record:
    """The record of a run's folder. Raises OSError without one, and DamagedFile."""
    return read(Path(folder) / FILE)


def read(path: Path) -> Record:
    """The record in a file. Raises OSError without one, and DamagedFile, which says what is wrong."""
    content = digests.read(path)
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        found = [(".".join(map(str, each["loc"])), each) for each in error.errors()]
        missing = [place for place, each in found if each["type"] == "missing"]
        wrong = [f"{place}={each['input']!r}: {each['msg'].lower()}" for place, each in found if place not in missing]
        text = f"it lacks {', '.join(missing)}" if missing else wrong[0]
        raise DamagedFile(f"{path} is damaged: {text}.") from error
    if record.status == FINISHED and record.primary_metric not in record.metrics:
        raise DamagedFile(f"{path} is damaged: it lacks metrics.{record.primary_metric}.")
    return record
