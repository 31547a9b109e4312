"""Tools for language-model agents over the Model Context Protocol: search, compare, measure, draft, case."""
