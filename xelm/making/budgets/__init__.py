"""From tokens to steps, memory and hours, before anything is trained."""
