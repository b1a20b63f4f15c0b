"""Where the models of a run are trained: in this process, in workers on this machine, or as Slurm jobs."""
