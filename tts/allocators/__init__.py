"""Allocators of one budget among problems: one published method a file, each a function that makes a
`tts.core.allocation.allocator.Allocator`."""
