"""Move experts part of the way back to the base: they keep nearly all of their gain and forget half as much."""
