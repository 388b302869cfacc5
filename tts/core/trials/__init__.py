"""One trial: a strategy on a problem, as a state machine of actions and events, and what the strategy may say."""
