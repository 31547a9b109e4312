"""PULSE checkpoints in their original layout: what they are, loading, running, converting.

Public names are in the modules: `model.PulseModel`, `check.check_checkpoint`, `convert.convert`,
`images.pulse_page_size`, `images.image_tokens`. Nothing heavy is imported here.
"""
