"""Text to weights over experts to tokens: language identification, policies, mixture."""
