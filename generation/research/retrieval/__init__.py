"""The evaluation protocol: labels, measures, bootstrap, baselines, runner. Nothing is imported here eagerly."""
