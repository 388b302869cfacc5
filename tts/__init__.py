"""Turn a budget of tokens into the best answers a model can give."""

from pathlib import Path

# A checkout keeps strategies/ and clusters/ beside tts/; a wheel keeps them inside.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "strategies").is_dir():
    __path__.append(str(_root))
