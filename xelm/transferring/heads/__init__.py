"""What learns the task, one file each: a head on frozen features, adapters, all weights."""
