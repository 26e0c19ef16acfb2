"""Every method on one feature store, in one pass: `plan`, `running` and `leaderboard`."""
