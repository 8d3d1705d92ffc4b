#!/usr/bin/env python3
"""Training speed of plmc and of what people use today, on one job, in one run, contender after contender, round by
round.

    scripts/bench_training.py DIR                    DIR holds SST-2/train.tsv and dev.tsv, or is the word `embedded`
    scripts/bench_training.py DIR --sentences 512,4096 --kd logit,hidden --repeat 5 --json speed.json --markdown
    speed.md scripts/bench_training.py DIR --only plmc,hand --plmc compile=true
    scripts/bench_training.py DIR --only plmc --sweep              what the second and the third job of a sweep cost

The job: 3 epochs of distillation from the MiniLM-L6 encoder into its layers 0, 2 and 5, batch 32, at most 128 tokens,
dropout on, one thread, AdamW, same losses for all. Counted are the CPU seconds of the process (user and system) from
the first batch to the last, the teacher's forward passes included; imports, reading, tokenising and judging are not.
TextBrewer and torchdistill are installed from PyPI into a virtual environment under the work folder that sees the
packages of this Python; where one does not run, its line says why.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent / "bench"
CONTENDERS = (
    "plmc fp32",
    "plmc bf16",
    "hand fp32",
    "hand bf16",
    "hand fp32 malloc",
    "hand bf16 malloc",
    "Trainer padded",
    "Trainer dynamic",
    "Trainer grouped",
    "TextBrewer padded",
    "TextBrewer dynamic",
    "TextBrewer cached",
    "torchdistill dynamic",
)
FOREIGN = {"TextBrewer": "textbrewer", "torchdistill": "torchdistill"}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with SST-2/train.tsv and SST-2/dev.tsv, or `embedded`")
    parser.add_argument("--sentences", default="512,4096")
    parser.add_argument("--kd", default="logit,hidden")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3, help="trainings of each contender; medians are shown")
    parser.add_argument(
        "--only", default="", help="contenders by the beginnings of their names: plmc,hand,Trainer grouped"
    )
    parser.add_argument(
        "--plmc", action="append", default=[], help="a further word for plmc, such as compile=true; repeatable"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="the repeats are jobs of one sweep: plmc's share what the teacher said"
    )
    parser.add_argument("--layers", default="0,2,5")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--teacher", default="", help="a fine-tuned model folder; default: fine-tuned on the same rows")
    parser.add_argument("--teacher-epochs", type=int, default=3)
    parser.add_argument("--dev", type=int, default=872, help="dev rows that quality is judged on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("outputs/bench_training"))
    parser.add_argument("--json", type=Path, help="default: WORK/result.json")
    parser.add_argument("--markdown", type=Path, help="default: WORK/result.md")
    return parser.parse_args()


def environment(threads: int) -> dict[str, str]:
    """For every job: the same number of threads, no network."""
    fixed = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(HERE)}
    return {**os.environ, **fixed, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def prepare(args: argparse.Namespace, sentences: int) -> Path:
    """The folder with rows and models for that many sentences; made unless it is there."""
    data = args.data if args.data == "embedded" else str(_glue(Path(args.data)))
    spec = {
        "data": data,
        "sentences": sentences,
        "dev": args.dev,
        "max_length": args.max_length,
        "seed": args.seed,
        "layers": [int(layer) for layer in args.layers.split(",")],
        "teacher": str(Path(args.teacher).resolve()) if args.teacher else "",
        "teacher_epochs": args.teacher_epochs,
        "teacher_lr": 1e-4,
        "threads": args.threads,
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]
    folder = (args.work / f"rows-{sentences}-{digest}").resolve()
    if not (folder / "ready").exists():
        print(f"rows, teacher and student for {sentences} sentences …", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(json.dumps(spec | {"folder": str(folder)}))
        command = [sys.executable, str(HERE / "prepare.py"), str(folder / "spec.json")]
        done = subprocess.run(command, env=environment(args.threads))
        if done.returncode:
            sys.exit(done.returncode)
    return folder


def _glue(folder: Path) -> Path:
    if not (folder / "SST-2" / "train.tsv").is_file():
        sys.exit(f"{folder} holds no SST-2/train.tsv. Name the folder with the GLUE folders, or say: embedded")
    return folder.resolve()


def foreign_python(work: Path, package: str) -> tuple[Path, str]:
    """The Python of an environment with `package` beside this Python's packages, and pip's complaint, if it had one.

    One environment each: what one rival brings along (torchvision, above all) is not to break the other.
    """
    folder = work.resolve() / f"venv-{package}"
    python, marker = folder / "bin" / "python", folder / "installed"
    if not python.exists():
        print(f"a virtual environment for {package} in {folder} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        where = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
        site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
        # The rivals run with the same torch and transformers as plmc.
        (site / "beside.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    if marker.exists():
        return python, ""
    constraint = folder / "constraint.txt"
    constraint.write_text(f"torch=={version('torch').partition('+')[0]}\n")
    command = [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraint), package]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return python, said[0] if said else f"pip ended with {done.returncode}"
    marker.touch()
    return python, ""


def run_job(
    args: argparse.Namespace, contender: str, kd: str, folder: Path, python: Path, seed: int, shared: str
) -> dict:
    """One training in its own process. `shared`: where plmc keeps its files between the jobs of a sweep."""
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=args.work) as scratch:
        outputs = Path(shared) / contender / folder.name if args.sweep else Path(scratch)
        job = {
            "contender": contender,
            "kd": kd,
            "folder": str(folder),
            "scratch": str(outputs.resolve()),
            "epochs": args.epochs,
            "batch_size": args.batch_size,
            "max_length": args.max_length,
            "lr": args.lr,
            "seed": seed,
            "threads": args.threads,
            "words": args.plmc,
        }
        job_file, result_file = Path(scratch) / "job.json", Path(scratch) / "result.json"
        job_file.write_text(json.dumps(job))
        command = [str(python), str(HERE / "job.py"), str(job_file), str(result_file)]
        done = subprocess.run(command, env=environment(args.threads), capture_output=True, text=True)
        if done.returncode or not result_file.exists():
            lines = done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"]
            return {"error": lines[-1]}
        return json.loads(result_file.read_text())


def rows_of(records: list[dict], samples: int) -> list[dict]:
    """One line a contender, the fastest first: medians, and the range over repeats."""
    lines = []
    for contender in dict.fromkeys(record["contender"] for record in records):
        own = [record for record in records if record["contender"] == contender]
        good = [record for record in own if "error" not in record]
        line = {
            "contender": contender,
            "repeats": len(good),
            "error": next((r["error"] for r in own if "error" in r), None),
        }
        if good:
            rates = sorted(samples / record["cpu_seconds"] for record in good)
            line |= {
                "samples_per_cpu_s": statistics.median(rates),
                "slowest": rates[0],
                "fastest": rates[-1],
                "cpu_seconds": statistics.median(record["cpu_seconds"] for record in good),
                "wall_seconds": statistics.median(record["wall_seconds"] for record in good),
                "accuracy": statistics.mean(record["accuracy"] for record in good),
                "accuracy_std": statistics.stdev(record["accuracy"] for record in good) if len(good) > 1 else None,
            }
        lines.append(line)
    return sorted(lines, key=lambda line: -line.get("samples_per_cpu_s", 0))


HEADS = ("contender", "samples / CPU s", "range", "CPU s", "wall s", "dev accuracy", "note")


def markdown(result: dict) -> str:
    """The tables with where and how they were made."""
    from plmc.report import tables

    machine, settings = result["machine"], result["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        f"`{result['command']}`",
        f"{machine['cpu']}, {settings['threads']} thread(s); load {result['load']}; {versions}",
    ]
    for table in result["tables"]:
        parts.append(f"### {table['kd']} KD, {table['sentences']} sentences, {settings['epochs']} epochs")
        parts.append(tables.markdown(HEADS, [cells(line) for line in table["lines"]]))
    return "\n\n".join(parts) + "\n"


def cells(line: dict) -> tuple[str, ...]:
    """A line of `rows_of` under HEADS."""
    if "cpu_seconds" not in line:
        return (line["contender"], *[""] * 5, f"does not run: {line['error']}")
    spread = "" if line["accuracy_std"] is None else f" ± {100 * line['accuracy_std']:.2f}"
    seconds = (f"{line['cpu_seconds']:.1f}", f"{line['wall_seconds']:.1f}")
    rates = (f"{line['samples_per_cpu_s']:.1f}", f"{line['slowest']:.1f} to {line['fastest']:.1f}")
    return (line["contender"], *rates, *seconds, f"{100 * line['accuracy']:.2f}{spread}", line["error"] or "")


def main() -> None:
    """Prepares, races, and writes JSON and Markdown after every round."""
    from plmc.measure.figures import machine

    args = arguments()
    if args.repeat < 1 or args.epochs < 1:
        sys.exit("--repeat and --epochs must be at least 1")
    wanted = [word.strip() for word in args.only.split(",") if word.strip()]
    racers = [name for name in CONTENDERS if not wanted or any(name.startswith(word) for word in wanted)]
    if not racers:
        sys.exit(f"--only {args.only}: no contender is called so. There are: {', '.join(CONTENDERS)}")
    args.work.mkdir(parents=True, exist_ok=True)
    libraries = {name.split()[0] for name in racers}
    rivals = {
        library: foreign_python(args.work, package) for library, package in FOREIGN.items() if library in libraries
    }
    folders = {int(count): prepare(args, int(count)) for count in args.sentences.split(",")}
    result = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join(sys.argv),
        "machine": machine(),
        "settings": {
            key: value if isinstance(value, (int, float, list)) else str(value) for key, value in vars(args).items()
        },
        "records": [],
        "tables": [],
    }
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=args.work) as shared:
        race(args, racers, rivals, folders, result, shared)
    print("\n" + markdown(result))


def race(args: argparse.Namespace, racers: list[str], rivals: dict, folders: dict, result: dict, shared: str) -> None:
    """Trains every contender round by round and keeps the files of `result` up to date."""
    broken: set[tuple[str, str]] = set()
    for repeat in range(args.repeat):
        for kd in args.kd.split(","):
            for sentences, folder in folders.items():
                # Another order every round: nobody always runs on the machine that its neighbour has warmed.
                for contender in racers[repeat % len(racers) :] + racers[: repeat % len(racers)]:
                    if (contender, kd) in broken or (contender, kd) == ("TextBrewer cached", "hidden"):
                        continue  # its cache holds logits only
                    python, complaint = rivals.get(contender.split()[0], (Path(sys.executable), ""))
                    seed = args.seed + repeat
                    found = (
                        {"error": complaint}
                        if complaint
                        else run_job(args, contender, kd, folder, python, seed, shared)
                    )
                    if "error" in found:
                        broken.add((contender, kd))
                    about = {"contender": contender, "kd": kd, "sentences": sentences, "repeat": repeat}
                    result["records"].append(about | found)
                    told = found.get("error") or f"{sentences * args.epochs / found['cpu_seconds']:.1f} samples/CPU s"
                    print(f"round {repeat + 1}, {kd} KD, {sentences}: {contender}: {told}", flush=True)
        result["load"] = ", ".join(f"{load:.2f}" for load in os.getloadavg())
        result["tables"] = [
            {
                "kd": kd,
                "sentences": count,
                "lines": rows_of(
                    [r for r in result["records"] if r["kd"] == kd and r["sentences"] == count], count * args.epochs
                ),
            }
            for kd in args.kd.split(",")
            for count in folders
        ]
        for path, text in (
            (args.json or args.work / "result.json", json.dumps(result, indent=2) + "\n"),
            (args.markdown or args.work / "result.md", markdown(result)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.draft")
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)


if __name__ == "__main__":
    main()
