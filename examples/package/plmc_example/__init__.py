"""A method, a kind of task and a task for plmc."""
