"""Who gets the next token: one published method a file, each a function that makes a
`tts.core.allocation.allocator.Allocator`."""
