"""The generator that is trained here: image tokens of the dual encoder, a projector, a small Llama-type decoder.

Nothing is imported here eagerly; see docs/architecture.md for the modules.
"""
