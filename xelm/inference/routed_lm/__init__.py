"""The parts of `RoutedLM`: the open run, its routes, its scores, its answers."""
