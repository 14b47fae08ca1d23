"""An export, asked in a Session as TF Serving would."""

import pytest
import tensorflow as tf


class Served:
    """A version of an export, loaded into a Session."""

    def __init__(self, version):
        with tf.Graph().as_default():
            self._session = tf.compat.v1.Session()
            self._loaded = tf.compat.v1.saved_model.loader.load(
                self._session, ["serve"], version
            )

    @property
    def signatures(self):
        return self._loaded.signature_def

    def ask(self, name, **inputs):
        signature = self.signatures[name]
        return self._session.run(
            {key: info.name for key, info in signature.outputs.items()},
            {signature.inputs[key].name: value for key, value in inputs.items()},
        )

    def refuses(self, sentence, name, **inputs):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            self.ask(name, **inputs)
