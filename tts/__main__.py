"""`python -m tts` is `tts`."""

from tts.cli import main

main()
