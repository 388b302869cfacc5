"""An OpenAI-compatible server over every strategy: `tts serve`.

A request is one call of a `tts.Client`: all of them run under one scheduler, one ledger and one limit of requests in
flight, and a client that goes away cancels its own requests, down to the engine.
"""
