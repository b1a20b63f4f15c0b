"""The policies, a file each; installed packages add theirs by the entry-point group `xelm.policies`."""
