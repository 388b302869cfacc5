"""Names of strategies, verifiers and allocators, and the code behind them."""
