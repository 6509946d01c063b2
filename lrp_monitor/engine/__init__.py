"""Relevance. Importing any part of it raises ImportError, in one sentence, where Keras is not the one it needs."""

from __future__ import annotations

import keras

if not hasattr(keras, "ops"):
    raise ImportError(
        f"lrp_monitor needs Keras 3, and this is Keras {keras.__version__}: pip install 'keras>=3.15' (tf_keras may "
        "stay beside it)"
    )
if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"lrp_monitor needs Keras on TensorFlow, and this process runs it on {keras.backend.backend()}: unset "
        'KERAS_BACKEND, or set it to "tensorflow" (also "backend" in ~/.keras/keras.json), before keras is imported'
    )
