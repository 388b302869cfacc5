"""Messages between a client and a server: addresses, requests, events, refusals. No sockets."""
