if __name__ != "tts.clusters":
    raise ImportError("import tts.clusters, not clusters")
