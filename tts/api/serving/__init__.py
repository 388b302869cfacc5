"""Parts of a client that stays open: `tts.api.client`."""
