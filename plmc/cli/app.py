"""The command line. Verbs only: everything heavy is imported inside the commands, so that help answers at once."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from plmc.export.extras import hush_torchao
from plmc.measure.software import sleep_at_barriers
from plmc.training.interrupt import exit_code, hear_sigterm, what_stopped

HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}
EPILOG = "Words after a verb are Hydra overrides: key=value, group=option, lists as \\[a,b]."

app = typer.Typer(
    name="plmc",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compress pre-trained language models: published methods as recipes that compose.\n\n"
    "First steps: [bold]plmc doctor[/], [bold]plmc ls[/], [bold]plmc train recipe=tinybert task=sst2 "
    "preset=offline[/].",
)


def _complete(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
    from plmc.cli.complete import complete

    # Typer leaves `args` empty; what was typed before is in the context.
    return complete([*args, *(ctx.params.get("words") or [])], incomplete)


def _complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    from plmc.cli.complete import runs

    return runs(Path(ctx.params.get("outputs") or "outputs"), incomplete)


def _one_of(names: str):
    """Completion by a table of `plmc.config.schemes`."""

    def complete(incomplete: str) -> list[str]:
        from plmc.config import schemes

        return [name for name in getattr(schemes, names) if name.startswith(incomplete)]

    return complete


Run = Annotated[
    str,
    typer.Argument(help="A run (signature, its beginning, or folder) or a model folder.", autocompletion=_complete_run),
]
Words = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as recipe=kd task=rte seed=2.", autocompletion=_complete)
]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", help="A package whose classes the config in the run's folder may name.")
]


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"{path} is a file. Name the folder of the runs.")
    return path


Outputs = Annotated[Path, typer.Option(help="Where runs lie.", callback=_folder)]


def _version(asked: bool) -> None:
    if asked:
        from plmc import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    if debug:
        os.environ["PLMC_DEBUG"] = "1"


@app.command(context_settings=HYDRA, epilog=EPILOG)
def train(words: Words = None) -> None:
    r"""Train a recipe on a task; the same command again goes on where it was cut off.

    [bold]plmc train recipe=tinybert task=sst2[/]                 Hub models, Hub data

    [bold]plmc train recipe=kd task=rte preset=offline[/]         no network, made-up data

    [bold]plmc train recipe=kd task=rte data=local data.root=DIR[/]   GLUE files of yours

    [bold]plmc train recipe=tinybert method=\[gmp,swa] methods.gmp.final=0.8[/]   recipes and methods compose

    [bold]plmc train -m recipe=finetune,kd seed=1,2,3[/]          a sweep; started again it skips what is finished

    [bold]plmc train recipe=tinybert task=mnli processes=4[/]   one run on four processes, each with a GPU if there are

    [bold]plmc train --cfg job recipe=kd[/]                       print the config instead

    Options, before or after the overrides:

    [bold]-m[/], [bold]--multirun[/]        a sweep over values with commas

    [bold]--config-dir DIR[/]       configs of your own, laid out as conf/ is

    [bold]-c[/], [bold]--cfg job[/]         print the config; with [bold]--resolve[/] its references are filled in
    """
    from plmc.run.jobs import launch

    raise typer.Exit(launch(words or [], _command()))


@app.command(context_settings=HYDRA, epilog=EPILOG)
def validate(words: Words = None) -> None:
    r"""Check a command without training: keys, values, conflicts, layer maps, models. Downloads no weights, no data.

    [bold]plmc validate recipe=tinybert method=\[gmp,swa] task=rte[/]    prints ok and the run's signature

    [bold]plmc validate recipe=kd,tinybert seed=1,2[/]                  every job of a sweep
    """
    from plmc.cli.show import validate as run

    run(words or [])


@app.command(context_settings=HYDRA, epilog=EPILOG)
def show(words: Words = None) -> None:
    r"""Show what a command would do: stages, the loss as a formula, settings and where each non-default came from.

    [bold]plmc show recipe=tinybert method=\[gmp,swa] task=rte[/]

    [bold]plmc train --cfg job recipe=tinybert[/]                       the whole config as YAML
    """
    from plmc.cli.show import show as run

    run(words or [])


@app.command()
def convert(
    name: Annotated[
        str, typer.Argument(help="A Hub id or a folder with pytorch_model.bin, or a folder with an adapter of PEFT.")
    ],
    folder: Annotated[Path, typer.Argument(help="A new folder for the model with safetensors.")],
) -> None:
    """Turn a model with pickled weights into one with safetensors, without running what is in the pickle; merge an
    adapter of PEFT into its base.

    [bold]plmc convert huawei-noah/TinyBERT_General_4L_312D tinybert-4l[/]    then student.name=tinybert-4l

    [bold]plmc convert my-lora-adapter merged[/]                              then plmc export merged,
    teacher.checkpoint=merged
    """
    from plmc.cli.convert import convert as run

    run(name, folder)


@app.command("ls")
def ls(
    what: Annotated[
        str, typer.Argument(help="recipes, methods, tasks, models, presets, data, runs, or all but runs")
    ] = "all",
    config_dir: Annotated[
        Path | None, typer.Option("--config-dir", help="Your own config folder, listed along.")
    ] = None,
    outputs: Outputs = Path("outputs"),
) -> None:
    """List what there is: recipes, methods, tasks, models, presets; or your runs.

    [bold]plmc ls methods[/]                                      names, papers, what each needs

    [bold]plmc ls runs[/]                                         what was trained here, and how well
    """
    from plmc.cli.ls import ls as run

    run(what, config_dir, outputs)


@app.command(context_settings=HYDRA)
def evaluate(
    run: Run,
    words: Words = None,
    split: Annotated[str, typer.Option(help="validation, validation_mismatched or test.")] = "validation",
    outputs: Outputs = Path("outputs"),
    allow: Allow = None,
) -> None:
    """Score a finished run or any model folder on a task's rows.

    [bold]plmc evaluate tinybert-rte[/]                            the run's own task and data

    [bold]plmc evaluate my_model/ task=rte data=local data.root=DIR --split validation[/]
    """
    from plmc.cli.evaluate import evaluate as score

    score(run, words or [], split, outputs, allow or ())


@app.command(context_settings=HYDRA)
def predict(
    run: Run,
    texts: Annotated[list[str] | None, typer.Argument(help="One text, or the two texts of a pair.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A text a line, or JSONL/CSV/TSV with columns.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to write JSONL; default: standard output.")] = None,
    glue_submission: Annotated[
        Path | None, typer.Option("--glue-submission", help="Folder for the GLUE leaderboard's TSV files and zip.")
    ] = None,
    outputs: Outputs = Path("outputs"),
    allow: Allow = None,
) -> None:
    """Answer texts with a finished run or a model folder.

    [bold]plmc predict tinybert-sst2 "a moving film"[/]

    [bold]plmc predict tinybert-sst2 --file reviews.txt --out answers.jsonl[/]

    [bold]plmc predict RUN1,RUN2 --glue-submission submission/[/]       the test sets of the runs' tasks
    """
    from plmc.cli.predict import predict as answer

    answer(run, texts or [], file, out, glue_submission, outputs, allow or ())


@app.command()
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or filters such as task=rte recipe=kd,tinybert.", autocompletion=_complete_run),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Arm that differences are tested against (default: finetune).")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw quality against latency and size.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables as Markdown.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the tables as CSV.")] = None,
    outputs: Outputs = Path("outputs"),
) -> None:
    """One table per task: mean ± std over seeds, share of the teacher kept, size, latency, significance.

    [bold]plmc compare[/]                                         all finished runs in outputs

    [bold]plmc compare task=rte recipe=kd,tinybert --plot rte.png --markdown rte.md[/]

    [bold]plmc compare kd-rte tinybert-rte --baseline kd[/]
    """
    from plmc.cli.compare import compare as run

    run(runs or [], baseline, plot, markdown, csv, outputs)


@app.command(context_settings=HYDRA)
def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, exports, model folders, .onnx files; and overrides such as task=sst2.",
            autocompletion=_complete_run,
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Rows a batch.")] = "1,8,32",
    length: Annotated[
        str, typer.Option(help="real (the task's validation rows), or numbers of tokens: real,32,128.")
    ] = "real",
    threads: Annotated[
        int, typer.Option(help="CPU threads of each model; the process is pinned to as many cores.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    rounds: Annotated[int, typer.Option(help="Turns of every model on every batch.")] = 10,
    seconds: Annotated[float, typer.Option(help="Time limit of a case; three rounds are always run.")] = 60.0,
    bf16: Annotated[bool, typer.Option("--bf16/--no-bf16", help="Torch models in bfloat16 as well as float32.")] = True,
    exports: Annotated[bool, typer.Option("--exports", help="All exports of the runs named, too.")] = False,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Peak memory, each model in its own process.")
    ] = True,
    json: Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the latencies (PNG).")] = None,
    outputs: Outputs = Path("outputs"),
    allow: Allow = None,
) -> None:
    """Measure speed, memory and size of models in one run, taking turns; the first is what the others are compared to.

    [bold]plmc bench teacher-sst2 kd-sst2 --exports[/]             the teacher, a run, and all exports of it

    [bold]plmc bench RUN RUN/export/onnx-int8 --batch 1,32 --length real,128 --threads 1 --json bench.json --plot
    bench.png[/]

    [bold]plmc bench my_model/ model.onnx task=sst2 data=local data.root=DIR[/]
    """
    from plmc.cli.bench import Options
    from plmc.cli.bench import bench as run

    options = Options(
        batch=batch,
        length=length,
        threads=threads,
        device=device,
        rounds=rounds,
        seconds=seconds,
        bf16=bf16,
        exports=exports,
        memory=memory,
        allow=tuple(allow or ()),
    )
    run(models or [], options, json, plot, outputs)


@app.command()
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or filters such as recipe=kd,tinybert.", autocompletion=_complete_run),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only these tasks, such as sst2,rte.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Arm that differences are tested against (default: finetune).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The HTML file.")] = Path("report.html"),
    outputs: Outputs = Path("outputs"),
) -> None:
    """One HTML file on the finished runs: tables, pictures, exports, speed, commands. Opens without network.

    [bold]plmc report[/]                                          all tasks, to report.html

    [bold]plmc report --task sst2,rte --out sst2.html[/]
    """
    from plmc.cli.report import report as run

    run(runs or [], task, baseline, out, outputs, _command())


@app.command(context_settings=HYDRA)
def export(
    run: Run,
    words: Words = None,
    to: Annotated[
        str, typer.Option("--to", help="onnx, openvino or torch.", autocompletion=_one_of("FORMATS"))
    ] = "onnx",
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize",
            help="int8, int8-static, weights8, int4, bf16 or none (the default).",
            autocompletion=_one_of("SCHEMES"),
        ),
    ] = None,
    max_drop: Annotated[float, typer.Option("--max-drop", help="Points the task's metric may fall by.")] = 1.0,
    force: Annotated[
        bool, typer.Option("--force", help="Write even if the metric drops too far; overwrite an existing export.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; default RUN/export/NAME.")] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Validation rows to verify on; default all.")] = None,
    outputs: Outputs = Path("outputs"),
    allow: Allow = None,
) -> None:
    """Write a model as it is deployed, with tokenizer, labels and a Python example, and prove that it still works.

    [bold]plmc export kd-sst2 --quantize int8[/]                  ONNX for CPUs, into the run's folder export/onnx-int8

    [bold]plmc export kd-sst2 --to openvino --quantize int8 --max-drop 0.5[/]

    [bold]plmc export my_model/ task=rte data=local data.root=DIR --out deployed/[/]
    """
    from plmc.cli.export import export as write

    write(run, words or [], to, quantize, max_drop, force, out, rows, outputs, allow or ())


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 5000,
    outputs: Outputs = Path("outputs"),
    uri: Annotated[str | None, typer.Option(help="Another tracking store.")] = None,
) -> None:
    """Open MLflow's own pages on this project's runs, at 127.0.0.1."""
    from plmc.cli.ui import ui as run

    run(port, outputs, uri)


@app.command()
def sync(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs by the beginnings of their names; default: all.", autocompletion=_complete_run),
    ] = None,
    outputs: Outputs = Path("outputs"),
    patience: Annotated[float, typer.Option(help="Seconds to wait for a store that takes nothing.", min=0.1)] = 10.0,
) -> None:
    """Send to MLflow what runs could not, because the store was away or refused; nothing is lost until then.

    [bold]plmc sync[/]                                            everything that waits in outputs

    [bold]plmc sync kd-sst2 --outputs elsewhere[/]                some runs of another folder
    """
    from plmc.cli.sync import sync as run

    raise typer.Exit(run(runs or [], outputs, patience))


@app.command()
def doctor(outputs: Outputs = Path("outputs")) -> None:
    """Check this machine: versions, devices, Hub, caches, disk, and what to do about each red line."""
    from plmc.cli.doctor import doctor as run

    raise typer.Exit(run(outputs))


def _command() -> str:
    return shlex.join(["plmc", *(word for word in sys.argv[1:] if word != "--debug")])


def main() -> None:
    """Entry point. `--debug` may be anywhere among the words."""
    if "--debug" in sys.argv[1:]:
        sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != "--debug")]
        os.environ["PLMC_DEBUG"] = "1"
    hush_torchao()
    sleep_at_barriers()
    hear_sigterm()
    try:
        app()
    except KeyboardInterrupt as stop:
        print(f"\n{what_stopped(stop)}", file=sys.stderr)
        sys.exit(exit_code(stop))
    except Exception as error:  # the last stop of every error: one message, and an exit code that says it failed
        from plmc.run.jobs import report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
