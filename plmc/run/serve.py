"""Answers with a model that transformers alone cannot build; MLflow loads it by this module's name, so it needs
plmc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmc.run import program


class Server:
    """`predict(rows)` gives a DataFrame with the answer to each row of one text, or of two."""

    def __init__(self, folder: Path, columns: list[str]):
        self.folder, self.columns = folder, columns

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> Any:
        """Answers.

        Args:
            rows: a DataFrame of one or two columns of texts, or a list of texts.
            params: not used; MLflow hands it over.
        """
        import pandas

        if isinstance(rows, pandas.DataFrame):
            given = [row[0] if len(row) == 1 else row for row in rows.itertuples(index=False, name=None)]
        else:
            given = [rows] if isinstance(rows, str) else list(rows)
        answers = program.predict(self.folder, given)
        return pandas.DataFrame([{name: answer[name] for name in self.columns} for answer in answers])


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> Server:
    # MLflow calls this by name with the folder of the model.
    return Server(Path(path) / "model", list((model_config or {})["columns"]))
