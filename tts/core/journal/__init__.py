"""The run's history as records: what is written, and what a resumed run makes of it. No I/O (that is in
`runs/folder.py`)."""
