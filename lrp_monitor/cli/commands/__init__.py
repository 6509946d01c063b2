"""The commands of `lrp-monitor`, a module each.

Each module has ``add``, which declares the command's arguments, and ``run``, which does the work and returns an exit
code. What that work needs is imported inside the functions: ``--help`` waits for neither NumPy nor TensorFlow.
"""
