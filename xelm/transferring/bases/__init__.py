"""The models that a task sits on: one of any kind, or those of a run."""
