"""The workflow kernel: operations made of named steps, their outcomes and their timeline."""
