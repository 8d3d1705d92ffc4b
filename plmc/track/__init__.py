"""Tracking of runs with MLflow, through a spool on disk that outlives an absent server."""

from plmc.track.local import LocalHistory, Silence
from plmc.track.pending import send_pending
from plmc.track.store import default_uri, resolve_uri
from plmc.track.sweep import adopt, close_parent, parent_run
from plmc.track.tracker import Tracker, reopened
from plmc.track.ui import compare_url, experiment_url, run_url, serve

__all__ = [
    "LocalHistory",
    "Silence",
    "Tracker",
    "adopt",
    "close_parent",
    "compare_url",
    "default_uri",
    "experiment_url",
    "parent_run",
    "reopened",
    "resolve_uri",
    "run_url",
    "send_pending",
    "serve",
]
