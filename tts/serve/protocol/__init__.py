"""OpenAI's protocol: requests read, answers and refusals written. Nothing here runs anything."""
