"""The policies, one file each; installed packages add policies by the entry-point group `xelm.policies`."""
