"""Virtual time: scripted worlds and recorded samples in place of models."""
