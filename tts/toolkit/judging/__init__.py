"""What judges share: replies that are read or repaired, prompts that fit, games of two solutions, and their scores."""
