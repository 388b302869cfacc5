"""One budget for many problems: an allocator bids for each problem's next sample, a shared budget grants. No I/O."""
