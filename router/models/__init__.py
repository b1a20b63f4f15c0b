"""Experts in memory: whole models on demand, or adapters on one base."""
