"""The leaderboard: records of rows of tables, how they are verified, and the page of them."""
