"""Words of the command line to a composed config, through Hydra, with errors a person can act on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plmc.config.folders import ROOT, conf_dir, options, search_path
from plmc.config.typed import as_typed, laid, reach
from plmc.errors import ConfigError
from plmc.names import did_you_mean


def split_words(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """Overrides, and the user's own config folder (`--config-dir DIR`), from the words after the verb."""
    overrides, extra, words = [], None, list(words)
    while words:
        word = words.pop(0)
        if word in ("--config-dir", "-cd"):
            if not words:
                raise ConfigError("--config-dir needs a folder: --config-dir my_conf")
            extra = Path(words.pop(0))
        elif word.startswith("--config-dir="):
            extra = Path(word.split("=", 1)[1])
        else:
            overrides.append(_quoted(word))
    if extra is not None and not extra.is_dir():
        raise ConfigError(f"--config-dir {extra}: no such folder.")
    return overrides, extra


# What Hydra reads without quotes ends at ASCII: größe/rows.csv needs them, also as a part of a list or of a sweep.
_PLAIN = re.compile(r"[^,\[\]{}():=]+")


def _quoted(word: str) -> str:
    """The word with quotes around those parts of its value that Hydra would not read without."""
    key, sign, value = word.partition("=")
    if value.isascii() or any(quote in value for quote in "'\""):
        return word
    return key + sign + _PLAIN.sub(lambda part: part[0] if part[0].isascii() else f"'{part[0].strip()}'", value)


def compose(words: Sequence[str]) -> Any:
    """The composed DictConfig of one run (no sweeps)."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    overrides, extra = split_words(words)
    _no_flags(overrides)
    overrides = reach(overrides)
    overrides = [*overrides, *search_path(extra)]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            return hydra_compose(ROOT, overrides=overrides, return_hydra_config=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides, extra)) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(_unreadable(error, extra)) from error
    except RecursionError as error:
        raise ConfigError(
            f"the defaults lists of {extra or conf_dir()} go round in a circle: a file names itself, or one that names "
            "it."
        ) from error
    except ValueError as error:
        # Hydra's own answer to a group without an option, such as task=null.
        empty = next((word for word in overrides if re.fullmatch(r"\w+=(null|true|false)?", word)), "")
        if not empty:
            raise ConfigError(f"{extra or conf_dir()}: {' '.join(str(error).split())[:300]}") from error
        raise ConfigError(f"{empty}: name an option, such as task=sst2 (plmc ls). Hydra says: {error}") from error


def _unreadable(error: Exception, extra: Path | None) -> str:
    """Which config file is no YAML, and why: Hydra names it for some errors only."""
    import yaml

    for path in sorted(extra.rglob("*.yaml")) if extra else ():
        try:
            yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as found:
            return f"{path} is no YAML that can be read: {' '.join(str(found).split())[:300]}"
    return f"a config file is no YAML that can be read: {' '.join(str(error).split())[:300]}"


def _no_folders(overrides: Sequence[str]) -> None:
    """Refuses Hydra's own folders: they hold nothing of plmc, and a wrong one ends in a traceback of Hydra's."""
    keys = ("hydra.run.", "hydra.sweep.", "hydra.output_subdir", "hydra.job.chdir")
    word = next((word for word in overrides if word.lstrip("+").startswith(keys)), None)
    if word is not None:
        key = word.lstrip("+").split("=")[0]
        raise ConfigError(f"{key}: runs go to output_dir=DIR, and Hydra writes nothing. Leave it out.")


GROUPS = ("task", "data", "teacher", "student", "recipe", "tracking", "preset")


def _options_by_name(overrides: Sequence[str]) -> None:
    """Refuses `recipe=3`, `recipe=[kd,swa]` and `method=[gmp,gmp]`, of which Hydra takes the last, or all, without a
    word."""
    for word in overrides:
        key, _, value = word.partition("=")
        if not key.strip():
            raise ConfigError(f"'{word}' cannot be read: a setting is written key=value.")
        several = value[:1] == "{" or (value[:1] == "[" and key != "preset")
        if key in GROUPS and (several or ".." in value or re.fullmatch(r"[\d.+-]*", value)):
            example = next(iter(options(key)))
            raise ConfigError(f"{word}: name one option, such as {key}={example} (plmc ls). A sweep: -m {key}=a,b")
        if key == "method" and value.startswith("["):
            names = [name.strip() for name in value.strip("[]").split(",")]
            twice = next((name for name in names if name and names.count(name) > 1), None)
            if twice:
                raise ConfigError(f"{word} names {twice} twice. Once is enough.")


def _no_flags(overrides: Sequence[str]) -> None:
    _no_folders(overrides)
    _options_by_name(overrides)
    flags = [word for word in overrides if word.startswith("-")]
    if flags:
        raise ConfigError(f"{flags[0]} is not understood here; settings are written key=value.")


def plain(config: Any) -> dict[str, Any]:
    """Resolved plain containers. Raises ConfigError for a value that must be given and is not."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    OmegaConf.register_new_resolver("by_task", lambda task, values, other: values.get(task, other), replace=True)
    try:
        found: Any = OmegaConf.to_container(laid(config), resolve=True, throw_on_missing=True)
        return found
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or ""
        if "Missing mandatory value" in str(error):
            raise ConfigError(f"{key} must be given: {key}=…") from error
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error


def single_runs(words: Sequence[str]) -> list[list[str]]:
    """The override lists of a sweep's jobs, one value varied at a time; the words themselves if there is no sweep.

    Enough to find every wrong name before the first job starts, without composing the whole product.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    overrides, extra = split_words(words)
    tail = ["--config-dir", str(extra)] if extra else []
    _no_flags(overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(reach(overrides))
    except HydraException as error:
        raise ConfigError(explain(error, overrides, extra)) from error
    choices = []
    for override in parsed:
        if override.is_sweep_override() and not override.is_hydra_override():
            key = override.get_key_element()
            values = _values(override, extra)
            choices.append([f"{key}={value}" for value in values])
        else:
            choices.append([str(override.input_line)])
    first = [choice[0] for choice in choices]
    runs = [first + tail]
    for i, choice in enumerate(choices):
        runs += [[*first[:i], value, *first[i + 1 :], *tail] for value in choice[1:]]
    return runs


def _values(override: Any, extra: Path | None) -> list[str]:
    """The values of a swept word, as far as they are known here: an interval's two ends, the options that a glob
    fits."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    value = override.value()
    if isinstance(value, Glob):
        group = override.key_or_group
        found = value.filter(list(options(group, extra)))
        if not found:
            raise ConfigError(f"{override.input_line} fits no {group}.{did_you_mean('', options(group, extra))}")
        return found
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    return list(itertools.islice(override.sweep_string_iterator(), 100))


def for_jobs(words: Sequence[str]) -> list[str]:
    """The words of a sweep with `key=value` as `key=choice(value)`, which Hydra gives to the jobs alone.

    Before its jobs Hydra composes the sweep itself, without the swept groups: `recipe=gmp_star,one_shot` is still the
    default recipe there, which lacks the keys of the others.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides, extra = split_words(words)
    kept = []
    for override in OverridesParser.create().parse_overrides(reach(overrides)):
        plain_value = not override.is_sweep_override() and not override.is_delete() and not override.is_hydra_override()
        word = str(override.input_line)
        key, _, value = word.partition("=")
        # A choice holds no null.
        if plain_value and "." in override.key_or_group and not override.is_add() and override.value() is not None:
            kept.append(f"{key}=choice({value})")
        else:
            kept.append(word)
    return kept + (["--config-dir", str(extra)] if extra else [])


_PLUGINS = {
    "hydra/launcher": {
        "joblib": "'plmc[parallel]'",
        "submitit_local": "'plmc[slurm]'",
        "submitit_slurm": "'plmc[slurm]'",
        "ray": "'plmc[ray]'",
        "rq": "hydra-rq-launcher",
    },
    "hydra/sweeper": {"optuna": "'plmc[search]'", "ax": "hydra-ax-sweeper", "nevergrad": "hydra-nevergrad-sweeper"},
}


def explain(error: Exception, overrides: Sequence[str], extra: Path | None = None) -> str:
    """One clear message for what Hydra refused, with the nearest right name."""
    from hydra.errors import OverrideParseException

    text = str(error)
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        said = as_typed(str(error.override))
        if said.startswith("tracking.uri="):  # an address may hold a token
            said = "tracking.uri=…"
        return (
            f"'{said}' cannot be read. Settings are written key=value, lists key=[a,b]; a value with "
            f"blanks or brackets needs quotes inside quotes: 'key=\"a b\"'."
        )
    if missing := re.search(r"Could not (?:find|load) '(?P<group>[\w/]+)/(?P<name>[^']+)'", text):
        group, name = missing["group"], missing["name"]
        if group in _PLUGINS:
            packages = _PLUGINS[group]
            if name in packages:
                return f"{group}={name} needs a package that is not installed: pip install {packages[name]}"
            return f"{group}={name}: there is no such {group} here.{did_you_mean(name, packages)}"
        return f"{group}={name}: there is no such {group}.{did_you_mean(name, options(group, extra))}"
    if wrong := re.search(r"Could not override '(?P<key>[^']+)'", text):
        return _unknown_key(wrong["key"], overrides, extra)
    if wrong := re.search(r"Key '(?P<key>[^']+)' is not in struct", text):
        return _unknown_key(getattr(cause or error, "full_key", None) or wrong["key"], overrides, extra)
    if group := re.search(r"Could not override '?(?P<key>[\w/@.]+)'?\.?\s*No match in the defaults list", text):
        return _unknown_key(group["key"], overrides, extra)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "hydra.cc" not in line)[:500]


# What earlier versions called it.
_NOW = {
    "corpus": "a stage's text is named by its task or by a feed: {0}.task.corpus=… or {0}.feeds.text.corpus=…",
    "corpus_rows": "how many lines a stage takes says its task or a feed: {0}.task.rows=… or {0}.feeds.text.rows=…",
    "mlm": (
        "is now two things: a teacher's head for running text (teacher.head_epochs, teacher.head_lr), and the stage "
        "prepare of prune_ofa"
    ),
}


def _unknown_key(key: str, overrides: Sequence[str], extra: Path | None) -> str:
    from omegaconf import OmegaConf

    *parents, last = key.split(".")
    if last in _NOW and parents[:2] == ["recipe", "stages"]:
        return f"{key}: {_NOW[last].format('.'.join(parents))}"
    if key.startswith("teacher.mlm"):
        return f"{key}: {_NOW['mlm']}"
    # Compose what was asked for without the keys that are wrong, to know what could have been meant.
    groups = [
        word for word in overrides if re.match(r"^(task|data|teacher|student|recipe|method|tracking|preset)=", word)
    ]
    tail = ["--config-dir", str(extra)] if extra else []
    try:
        node: Any = OmegaConf.to_container(
            compose([*groups, *tail]) if groups or overrides else compose([]), resolve=False
        )
    except (ConfigError, RecursionError):
        return f"{key}: there is no such key."
    known_path: list[str] = []
    for part in parents:
        if not isinstance(node, dict) or part not in node:
            choices = list(node) if isinstance(node, dict) else []
            where = ".".join(known_path) or "the config"
            return f"{key}: {where} has no key {part}.{did_you_mean(part, choices)}"
        node = node[part]
        known_path.append(part)
    choices = [k for k in node if not str(k).startswith("_")] if isinstance(node, dict) else []
    return f"{key}: there is no such key.{did_you_mean(last, choices)}"
