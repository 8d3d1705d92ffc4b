"""What the documentation site has in addition to the files in docs/: the home page, API pages, a picture of the
rooms."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import tomllib
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "plmc"
# Files of the checkout that are pages here.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# What a program uses, first; then what a method, a head or a task is made of.
API = {
    "In a program": ["plmc.run.program", "plmc.results.record", "plmc.results.find", "plmc.benchmark.race"],
    "Methods": [
        "plmc.core.method",
        "plmc.core.chain",
        "plmc.core.view",
        "plmc.core.setting",
        "plmc.core.clock",
        "plmc.core.stage",
        "plmc.core.fields",
        "plmc.core.rows",
        "plmc.testing.methods",
    ],
    "Kinds of task": [
        "plmc.heads.base",
        "plmc.heads.classification",
        "plmc.heads.span",
        "plmc.heads.masked_lm",
        "plmc.testing.heads",
    ],
    "Tasks and rows": ["plmc.tasks.base", "plmc.tasks.text", "plmc.data.source", "plmc.config.packages"],
    "The loop": ["plmc.training.trainer", "plmc.training.plan", "plmc.training.objective", "plmc.training.evaluate"],
    "Losses": sorted(f"plmc.losses.{path.stem}" for path in (PACKAGE / "losses").glob("[a-z]*.py")),
    "Models": ["plmc.models.load", "plmc.models.encoder", "plmc.models.spec", "plmc.teachers.spec"],
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the generated pages."""
    made = {page: _relinked((ROOT / name).read_text(encoding="utf-8")) for name, page in PAGES.items()}
    made |= {f"api/{_slug(title)}.md": _api(title, modules) for title, modules in API.items()}
    made["rooms.md"] = _rooms()
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    files.append(File.generated(config, "rooms.svg", content=_picture()))
    return files


def on_config(config: Any) -> Any:
    """The order of pages: to use it, methods, what was measured, to extend it, API."""
    methods = sorted((ROOT / "docs" / "methods").glob("*.md"))
    config.nav = [
        {"Start": "index.md"},
        {
            "Use": [
                "stages.md",
                "families.md",
                "scale.md",
                "export.md",
                "benchmarks.md",
                "tracking.md",
                "reliability.md",
                "embedded-world.md",
            ]
        },
        {"Methods": [{_title(path): f"methods/{path.name}"} for path in methods]},
        {"Results": "RESULTS.md"},
        {"Extend": ["contributing.md", "rooms.md"]},
        {"API": [{title: f"api/{_slug(title)}.md"} for title in API]},
        {"Changelog": "changelog.md"},
    ]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A method's page ends with the classes that its head names."""
    if not page.file.src_uri.startswith("methods/"):
        return markdown
    head = markdown.partition("\n## ")[0]
    classes = dict.fromkeys(re.findall(r"`(plmc\.methods\.[\w.]+\.[A-Z]\w+)`", head))
    blocks = (f"::: {name}\n    options: {{ members: false, heading_level: 3 }}\n" for name in classes)
    return "\n".join([markdown, "## In code", *blocks]) if classes else markdown


def _relinked(text: str) -> str:
    """Links of a file in the root as links of the page it becomes; what the site does not hold is only named."""
    for name, page in PAGES.items():
        text = text.replace(f"]({name})", f"]({page})")
    text = text.replace("](docs/", "](")
    return re.sub(r"\[([^\]]*)\]\((?:examples/[^)]*|CITATION\.cff)\)", r"\1", text)


def _api(title: str, modules: list[str]) -> str:
    parts = [f"# {title}"]
    for module in modules:
        options = "show_root_heading: false, show_root_toc_entry: false, heading_level: 3"
        parts += [f"## {module}", f"::: {module}\n    options: {{ {options} }}"]
    return "\n\n".join(parts) + "\n"


def _floors() -> list[list[str]]:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    return [[name.strip() for name in layer.split(":")] for layer in contract["layers"]]


def _rooms() -> str:
    rows = []
    for floor in _floors():
        for name in floor:
            place = PACKAGE / name
            files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
            lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
            rows.append(f"| `{name}` | {len(files)} | {lines:,} |")
    table = "\n".join(["| room | files | lines |", "|---|---:|---:|", *rows])
    return (
        "# The rooms\n\nA package imports only from those below it; the import contract in `pyproject.toml`, from "
        f"which this page is made, refuses anything else.\n\n![The rooms](rooms.svg)\n\n{table}\n"
    )


def _picture() -> bytes:
    from matplotlib.figure import Figure

    floors = _floors()
    figure = Figure(figsize=(7, 0.42 * len(floors)))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 1), ylim=(len(floors), 0))
    axis.axis("off")
    for row, floor in enumerate(floors):
        width = 0.9 / len(floor)
        for column, name in enumerate(floor):
            left = 0.05 + column * width
            axis.add_patch(_box(left, row, width))
            axis.text(left + width / 2, row + 0.5, name, ha="center", va="center", family="monospace", color="white")
    target = io.BytesIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return target.getvalue()


def _box(left: float, row: int, width: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left + 0.004, row + 0.08), width - 0.008, 0.84, facecolor="#3f51b5", edgecolor="none")


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").partition(":")[0]


def _slug(title: str) -> str:
    return title.lower().replace(" ", "_")
