"""Published I3D weights, by name, into the Keras network."""


def load_i3d_weights(model, source, include_head=True):
    raise NotImplementedError
