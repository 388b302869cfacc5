"""A local web page on which a person sees what happened in a run or a pool: `tts view`.

The page (`page/`) asks for JSON, whose shapes are in `schema.py`; texts stay on the disk until they are asked for.
"""
