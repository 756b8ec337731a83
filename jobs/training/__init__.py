"""The trainer: turns one run directory into trained weights. No Django in here.

`python -m jobs.training RUN_DIR` reads `spec.json` and writes `events.jsonl`, `checkpoints/` and `output/`.
"""
