if __name__ != "tts.strategies":
    raise ImportError("import tts.strategies, not strategies")
